/*
 * Globals.
 *
 * Every chunk has one and the same _ENV: an empty proxy. Reads fall through its __index, writes through its __newindex. What these
 * two name is exchanged when another fiber gets the thread, so that both cost what plain tables cost:
 *
 *                     __index             __newindex
 *   nothing written   outer               first_write(), which makes the fiber's table
 *   later             the fiber's table   the fiber's table
 *
 * The fiber's table falls back to its outer one: what its script's chunk set as globals when it was loaded, or the base
 * (the libraries). A fiber's globals go with the fiber; those of a loading script stay, as the outer table of its
 * calls. Functions called by reference see the globals of the script that gave them out.
 *
 * The exchange is two stores into fields that exist, with the collector's barrier: nothing is allocated or raised, so it
 * may happen on the thread's own stack. The fields are looked up anew each time; the debug library can reach them.
 */
#include "environment.h"

static int first_write(lua_State *L);

/* [interpreter thread; no; no] */
static void set_event(lua_State *L, Table *meta, TMS event, const TValue *value) {
  TValue *slot = (TValue *)luaH_getshortstr(meta, G(L)->tmname[event]);
  if (isabstkey(slot)) return;
  setobj2t(L, slot, value);
  luaC_barrierback(L, obj2gco(meta), value);
}

/* [interpreter thread; no; no] */
static void select_tables(sslua *u, Table *own, Table *outer) {
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
      setfvalue(&value, first_write);
    }
    set_event(u->L, u->env_meta, TM_NEWINDEX, &value);
    u->env_own = own;
  }
}

/* [interpreter thread; no; no] */
void sslua_env_select(sslua *u, const sslua_run *run) {
  if (u->env_meta == NULL) return; /* not started */
  select_tables(u, run->globals, run->outer != NULL ? run->outer : u->base);
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
    lua_createtable(L, 0, 1);
    push_table(L, run->outer != NULL ? run->outer : u->base);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    Table *own = sslua_anchor(L);
    run->globals = own;
    sslua_env_select(u, run);
  }
  return run->globals;
}

/* __newindex(proxy, key, value) until the fiber has its table. [fiber; no; may raise] */
static int first_write(lua_State *L) {
  if (lua_isnil(L, 3)) return 0;
  push_table(L, own_table(L));
  lua_replace(L, 1);
  lua_settop(L, 3);
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
  luaL_checkstack(L, 1, NULL);
  push_table(L, own_table(L));
  lua_insert(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* Adds the pairs of `table` to the one below the top. [fiber; no; may raise] */
static void add_pairs(lua_State *L, Table *table) {
  push_table(L, table);
  for (lua_pushnil(L); lua_next(L, -2);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -5);
  }
  lua_pop(L, 1);
}

/* [fiber; no; may raise] */
void sslua_env_push_merged(lua_State *L) {
  sslua *u = sslua_of(L);
  sslua_run *run = u->run;
  luaL_checkstack(L, 6, NULL);
  lua_newtable(L);
  add_pairs(L, u->base);
  if (run->outer != NULL && run->outer != (void *)u->base) add_pairs(L, run->outer);
  if (run->globals != NULL) add_pairs(L, run->globals);
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
  lua_pushcfunction(L, first_write);
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
