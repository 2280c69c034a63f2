/*
 * Globals.
 *
 * Every chunk has one and the same _ENV: an empty proxy. Reads fall through its __index, writes through its __newindex. What these
 * two name is exchanged when another fiber gets the thread, so that both cost what plain tables cost:
 *
 *                     __index             __newindex
 *   nothing written   outer               set_global(), which makes the fiber's table
 *   later             the fiber's table   the fiber's table
 *
 * The fiber's table reads on in its outer one while all that was written are new names: its __newindex sees to that. The
 * first time that a name of the outer table is set, or cleared, or the globals are walked with next(), it is detached:
 * all that the outer one has is copied to it and its metatable goes. From then on it is a plain table, and clearing a
 * global, while it is walked too, does what it does in plain Lua.
 *
 * The fiber's table falls back to its outer one: what its script's chunk set as globals when it was loaded, or the base
 * (the libraries). A fiber's globals go with the fiber; those of a loading script stay, as the outer table of its
 * calls. Functions called by reference see the globals of the script that gave them out.
 *
 * The exchange is two stores into fields that exist, with the collector's barrier: nothing is allocated or raised, so it
 * may happen on the thread's own stack. The fields are looked up anew each time; the debug library can reach them.
 */
#include "environment.h"

static int set_global(lua_State *L);

/* [interpreter thread; no; no] */
static void set_event(lua_State *L, Table *meta, TMS event, const TValue *value) {
  TValue *slot = (TValue *)luaH_getshortstr(meta, G(L)->tmname[event]);
  if (isabstkey(slot)) return;
  setobj2t(L, slot, value);
  luaC_barrierback(L, obj2gco(meta), value);
}

/* By itself, since nearly always they are the same ones as before. [interpreter thread; no; no] */
static __attribute__((noinline)) void select_tables(sslua *u, Table *own, Table *outer) {
  TValue value;
  Table *read = own != NULL ? own : outer;
  if (read != u->env_read) {
    sethvalue(u->L, &value, read);
    set_event(u->L, u->env_meta, TM_INDEX, &value);
    u->env_read = read;
  }
  if (own != u->env_own) {
    if (own != NULL) {
      sethvalue(u->L, &value, own);
    } else {
      setfvalue(&value, set_global);
    }
    set_event(u->L, u->env_meta, TM_NEWINDEX, &value);
    u->env_own = own;
  }
}

/* [interpreter thread; no; no] */
void sslua_env_select(sslua *u, const sslua_run *run) {
  if (u->env_meta == NULL) return; /* not started */
  Table *own = run->globals, *outer = run->outer != NULL ? run->outer : u->base;
  if (own == u->env_own && (own != NULL ? own : outer) == u->env_read) return;
  select_tables(u, own, outer);
}

/* [fiber; no; no] */
void sslua_env_begin(sslua *u, sslua_run *run, uint32_t script) {
  run->script = script;
  run->outer = u->base;
  if (script != 0 && script <= u->nscripts && u->scripts[script - 1].globals != NULL)
    run->outer = u->scripts[script - 1].globals;
  sslua_env_select(u, run);
}

/* Pushes a table. [fiber; no; may raise only for stack] */
static void push_table(lua_State *L, Table *table) {
  sethvalue2s(L, L->top.p, table);
  L->top.p++;
}

/* [fiber; no; no] */
void sslua_env_end(sslua *u, sslua_run *run) {
  if (run->globals == NULL) return;
  lua_State *L = u->L;
  if (L != NULL) {
    /* Dropping a key allocates nothing. */
    lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_anchors);
    push_table(L, run->globals);
    lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    run->globals = NULL;
    sslua_env_select(u, run);
  }
  run->globals = NULL;
}

/* The current run's own table, made now if it has none. [fiber; no; may raise] */
static Table *own_table(lua_State *L) {
  sslua *u = sslua_of(L);
  sslua_run *run = u->run;
  if (run->globals == NULL) {
    luaL_checkstack(L, 6, NULL);
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    push_table(L, run->outer != NULL ? run->outer : u->base);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, set_global);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    Table *own = sslua_anchor(L);
    run->globals = own;
    sslua_env_select(u, run);
  }
  return run->globals;
}

/* Where a table of globals reads on, pushed; 0: nowhere, nothing is pushed. [fiber; no; may raise] */
static int push_outer(lua_State *L, int index) {
  luaL_checkstack(L, 3, NULL);
  if (!lua_getmetatable(L, index)) return 0;
  lua_pushliteral(L, "__index");
  lua_rawget(L, -2);
  lua_remove(L, -2);
  return 1;
}

/* Makes the current run's own table complete. [fiber; no; may raise] */
static Table *detach(lua_State *L) {
  Table *own = own_table(L);
  push_table(L, own);
  int at = lua_gettop(L);
  if (!push_outer(L, at)) {
    lua_pop(L, 1);
    return own;
  }
  int outer = lua_gettop(L);
  do {
    int from = lua_gettop(L);
    luaL_checkstack(L, 5, NULL);
    for (lua_pushnil(L); lua_next(L, from);) {
      lua_pushvalue(L, -2);
      if (lua_rawget(L, at) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, at);
      } else {
        lua_pop(L, 2);
      }
    }
    lua_replace(L, outer);
    lua_settop(L, outer);
  } while (push_outer(L, outer));
  lua_pushnil(L);
  lua_setmetatable(L, at);
  lua_settop(L, at - 1);
  return own;
}

/*
 * __newindex of the proxy, until the fiber has its table, and of that table until it is detached: (anything, key, value).
 * [fiber; no; may raise]
 */
static int set_global(lua_State *L) {
  lua_settop(L, 3);
  push_table(L, own_table(L));
  lua_replace(L, 1);
  if (push_outer(L, 1)) {
    lua_pushvalue(L, 2);
    int known = lua_gettable(L, -2) != LUA_TNIL; /* the chain below the proxy is ours: plain tables */
    lua_settop(L, 3);
    if (known) detach(L);
  }
  lua_rawset(L, 1);
  return 0;
}

/* [fiber; no; no] */
int sslua_is_env(lua_State *L, int index) { return lua_topointer(L, index) == sslua_of(L)->env; }

/* [fiber; no; may raise] */
void sslua_env_rawget(lua_State *L) {
  push_table(L, sslua_of(L)->env_read);
  lua_insert(L, -2);
  lua_gettable(L, -2); /* the chain below the proxy is ours: plain tables */
  lua_remove(L, -2);
}

/* [fiber; no; may raise] */
void sslua_env_rawset(lua_State *L) {
  luaL_checkstack(L, 3, NULL);
  lua_pushcfunction(L, set_global);
  lua_insert(L, -3);
  lua_pushnil(L);
  lua_insert(L, -3);
  lua_call(L, 3, 0);
}

/* [fiber; no; may raise] */
void sslua_env_push_own(lua_State *L) {
  Table *own = detach(L);
  push_table(L, own);
}

/* Adds the pairs of the globals on top, those it reads on in first, to the table below, and pops them. [fiber; no; may raise] */
static void add_pairs(lua_State *L) {
  luaL_checkstack(L, 6, NULL);
  if (push_outer(L, lua_gettop(L))) {
    lua_pushvalue(L, -3);
    lua_insert(L, -2);
    add_pairs(L);
    lua_pop(L, 1);
  }
  for (lua_pushnil(L); lua_next(L, -2);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -5);
  }
  lua_pop(L, 1);
}

/* [fiber; no; may raise] */
void sslua_env_push_merged(lua_State *L) {
  luaL_checkstack(L, 6, NULL);
  lua_newtable(L);
  push_table(L, sslua_of(L)->env_read);
  add_pairs(L);
}

/* __pairs of the proxy: over a copy. [fiber; no; may raise] */
static int env_pairs(lua_State *L) {
  lua_getfield(L, lua_upvalueindex(1), "next");
  sslua_env_push_merged(L);
  lua_pushnil(L);
  return 3;
}

/* [fiber; no; may raise] */
void sslua_env_open(lua_State *L) {
  sslua *u = sslua_of(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  u->base = sslua_anchor(L);
  lua_createtable(L, 0, 0);
  lua_createtable(L, 0, 4);
  push_table(L, u->base);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, set_global);
  lua_setfield(L, -2, "__newindex");
  push_table(L, u->base);
  lua_pushcclosure(L, env_pairs, 1);
  lua_setfield(L, -2, "__pairs");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, -1);
  Table *meta = sslua_anchor(L);
  lua_setmetatable(L, -2);
  push_table(L, u->base);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "_G");
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  u->env = sslua_anchor(L);
  u->env_read = u->base;
  u->env_own = NULL;
  u->env_meta = meta;
}
