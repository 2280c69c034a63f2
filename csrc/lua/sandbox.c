/*
 * The sandbox.
 *
 * What one call does must not be seen by the next, and no script may stop, crash or read out the process. Three means:
 *
 * 1. Library and module tables are read-only proxies: empty tables whose metatable (hidden by __metatable = false) reads
 *    through to the real one and refuses writes. The functions that go round metatables know them: rawset is refused,
 *    rawget, next and rawlen work on the real table. The string metatable is hidden as well.
 * 2. Functions with process-wide or interpreter-wide effect are left out or tamed unless a setting asks for them:
 *
 *      debug           only traceback                            SSLUA_DEBUG
 *      os.exit         left out                                  SSLUA_OS_EXIT
 *      os.setlocale    left out                                  SSLUA_OS_SETLOCALE
 *      io, os.execute, remove, rename, tmpname,
 *      dofile, loadfile                           left out       SSLUA_IO
 *      setmetatable    refuses __gc                              SSLUA_SCRIPT_GC
 *      collectgarbage  count, one step, isrunning                SSLUA_COLLECTGARBAGE
 *      load            text chunks only                          SSLUA_BINARY_CHUNKS
 *
 *    C modules are never loaded: there is no loadlib and no cpath.
 * 3. A fiber's own Lua thread is not a coroutine to its script: yielding from it is an error where it happens.
 *
 * With the debug library a script reaches everything; that setting is for trusted scripts.
 */
#include "sandbox.h"

#include <string.h>

#include "environment.h"
#include "files.h"
#include "random.h"

static const char protected_tag = 0; /* in a proxy's metatable: the real table */

/* ---- 1: read-only tables ---- */

/* Pushes the real table of the proxy at `index`; 0: it is none, nothing is pushed. [fiber; no; may raise] */
static int push_real(lua_State *L, int index) {
  if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return 0;
  if (lua_rawgetp(L, -1, &protected_tag) == LUA_TTABLE) {
    lua_remove(L, -2);
    return 1;
  }
  lua_pop(L, 2);
  return 0;
}

/* Upvalue: the name. [fiber; no; raises] */
static int protected_newindex(lua_State *L) {
  return luaL_error(L, "'%s' is read-only", lua_tostring(L, lua_upvalueindex(1)));
}

/* A `next` for iterating the real table without giving it out. Upvalue: the table. [fiber; no; may raise] */
static int protected_next(lua_State *L) {
  lua_settop(L, 2);
  if (lua_next(L, lua_upvalueindex(1))) return 2;
  lua_pushnil(L);
  return 1;
}

/* Upvalue: the real table. [fiber; no; may raise] */
static int protected_pairs(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, protected_next, 1);
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

/* Upvalue: the real table. [fiber; no; may raise] */
static int protected_len(lua_State *L) {
  lua_pushinteger(L, luaL_len(L, lua_upvalueindex(1)));
  return 1;
}

/* [fiber; no; may raise] */
void sslua_protect(lua_State *L, const char *name) {
  luaL_checkstack(L, 6, NULL);
  int real = lua_gettop(L);
  lua_createtable(L, 0, 0);
  lua_createtable(L, 0, 6);
  lua_pushvalue(L, real);
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, real);
  lua_rawsetp(L, -2, &protected_tag);
  lua_pushstring(L, name);
  lua_pushcclosure(L, protected_newindex, 1);
  lua_setfield(L, -2, "__newindex");
  lua_pushvalue(L, real);
  lua_pushcclosure(L, protected_pairs, 1);
  lua_setfield(L, -2, "__pairs");
  lua_pushvalue(L, real);
  lua_pushcclosure(L, protected_len, 1);
  lua_setfield(L, -2, "__len");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_replace(L, real);
}

/* [fiber; no; may raise] */
void sslua_set_loaded(lua_State *L, const char *name) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_loaded);
  lua_insert(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

/* ---- replacements of base functions ---- */

/* [fiber; no; may raise] */
static int base_rawget(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  if (sslua_is_env(L, 1)) {
    sslua_env_rawget(L);
    return 1;
  }
  if (push_real(L, 1)) lua_replace(L, 1);
  lua_rawget(L, 1);
  return 1;
}

/* [fiber; no; may raise] */
static int base_rawset(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  if (sslua_is_env(L, 1)) {
    sslua_env_rawset(L);
    return 1;
  }
  if (push_real(L, 1)) return luaL_error(L, "this table is read-only");
  lua_rawset(L, 1);
  return 1;
}

/* [fiber; no; may raise] */
static int base_rawlen(lua_State *L) {
  int type = lua_type(L, 1);
  luaL_argexpected(L, type == LUA_TTABLE || type == LUA_TSTRING, 1, "table or string");
  lua_settop(L, 1);
  if (push_real(L, 1)) lua_replace(L, 1);
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
  return 1;
}

/* [fiber; no; may raise] */
static int base_next(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  if (sslua_is_env(L, 1)) {
    sslua_env_push_own(L); /* it does not come out */
    lua_replace(L, 1);
  } else if (push_real(L, 1)) {
    lua_replace(L, 1);
  }
  if (lua_next(L, 1)) return 2;
  lua_pushnil(L);
  return 1;
}

/* [fiber; no; may raise] */
static int base_setmetatable(lua_State *L) {
  int type = lua_type(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) return luaL_error(L, "cannot change a protected metatable");
  if (type == LUA_TTABLE && !(sslua_of(L)->settings & SSLUA_SCRIPT_GC)) {
    lua_pushliteral(L, "__gc");
    lua_rawget(L, 2);
    if (!lua_isnil(L, -1)) return luaL_error(L, "'__gc' is not available to scripts here (setting: script_gc); use '__close'");
    lua_pop(L, 1);
  }
  lua_settop(L, 2);
  lua_setmetatable(L, 1);
  return 1;
}

/* [fiber; no; may raise] */
static int base_collectgarbage(lua_State *L) {
  static const char *const options[] = {"collect", "count", "step", "isrunning", NULL};
  switch (luaL_checkoption(L, 1, "collect", options)) {
    case 1: {
      int kib = lua_gc(L, LUA_GCCOUNT);
      if (kib == -1) return 0; /* in a finalizer */
      lua_pushnumber(L, (lua_Number)kib + (lua_Number)lua_gc(L, LUA_GCCOUNTB) / 1024);
      return 1;
    }
    case 3:
      lua_pushboolean(L, lua_gc(L, LUA_GCISRUNNING));
      return 1;
    default: {
      int step = lua_gc(L, LUA_GCSTEP, 0);
      if (lua_type(L, 1) == LUA_TSTRING && strcmp(lua_tostring(L, 1), "step") == 0)
        lua_pushboolean(L, step == 1);
      else
        lua_pushinteger(L, 0);
      return 1;
    }
  }
}

/* Upvalue: the stock load. [fiber; may suspend; may raise] */
static int base_load(lua_State *L) {
  /* A mode of our own in place 3; with fewer than four arguments there must be no `env`, not even nil. */
  const char *mode = luaL_optstring(L, 3, "bt");
  int n = lua_gettop(L) < 3 ? 3 : lua_gettop(L);
  lua_settop(L, n);
  if (strchr(mode, 't') == NULL) {
    lua_pushnil(L);
    lua_pushliteral(L, "precompiled chunks are not available to scripts here (setting: binary_chunks)");
    return 2;
  }
  lua_pushliteral(L, "t");
  lua_replace(L, 3);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, n, LUA_MULTRET);
  return lua_gettop(L);
}

/* [fiber; no (a yield is Lua's own); may raise] */
static int coroutine_yield(lua_State *L) {
  if (*sslua_run_of(L) != NULL) return luaL_error(L, "attempt to yield from outside a coroutine");
  return lua_yield(L, lua_gettop(L));
}

/* [fiber; no; may raise] */
static int coroutine_isyieldable(lua_State *L) {
  lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
  lua_pushboolean(L, *sslua_run_of(co) == NULL && lua_isyieldable(co));
  return 1;
}

/* [fiber; no; may raise] */
static int coroutine_running(lua_State *L) {
  lua_pushthread(L);
  lua_pushboolean(L, *sslua_run_of(L) != NULL);
  return 2;
}

/* ---- opening ---- */

/* Sets fields of the table on top to nil. [fiber; no; may raise] */
static void remove_fields(lua_State *L, const char *const *names) {
  for (; *names != NULL; names++) {
    lua_pushnil(L);
    lua_setfield(L, -2, *names);
  }
}

/* [fiber; no; may raise] */
void sslua_libraries_open(lua_State *L) {
  static const luaL_Reg safe[] = {{LUA_GNAME, luaopen_base},           {LUA_TABLIBNAME, luaopen_table},
                                  {LUA_STRLIBNAME, luaopen_string},    {LUA_MATHLIBNAME, luaopen_math},
                                  {LUA_UTF8LIBNAME, luaopen_utf8},     {LUA_COLIBNAME, luaopen_coroutine},
                                  {LUA_OSLIBNAME, luaopen_os},         {LUA_DBLIBNAME, luaopen_debug},
                                  {NULL, NULL}};
  static const luaL_Reg base[] = {{"rawget", base_rawget},   {"rawset", base_rawset},
                                  {"rawlen", base_rawlen},   {"next", base_next},
                                  {"setmetatable", base_setmetatable}, {NULL, NULL}};
  static const luaL_Reg coroutine[] = {{"yield", coroutine_yield},
                                       {"isyieldable", coroutine_isyieldable},
                                       {"running", coroutine_running},
                                       {NULL, NULL}};
  unsigned settings = sslua_of(L)->settings;
  for (const luaL_Reg *lib = safe; lib->name != NULL; lib++) {
    luaL_requiref(L, lib->name, lib->func, 1);
    lua_pop(L, 1);
  }
  lua_pushglobaltable(L);
  luaL_setfuncs(L, base, 0);
  if (!(settings & SSLUA_COLLECTGARBAGE)) {
    lua_pushcfunction(L, base_collectgarbage);
    lua_setfield(L, -2, "collectgarbage");
  }
  if (!(settings & SSLUA_BINARY_CHUNKS)) {
    lua_getfield(L, -1, "load");
    lua_pushcclosure(L, base_load, 1);
    lua_setfield(L, -2, "load");
    /* Nobody takes what it makes; and it recurses through nested functions without a look at the stack. */
    lua_getfield(L, -1, LUA_STRLIBNAME);
    remove_fields(L, (const char *const[]){"dump", NULL});
    lua_pop(L, 1);
  }
  if (!(settings & SSLUA_IO)) {
    remove_fields(L, (const char *const[]){"dofile", "loadfile", NULL});
  } else {
    sslua_files_open(L);
  }
  lua_getfield(L, -1, LUA_COLIBNAME);
  luaL_setfuncs(L, coroutine, 0);
  lua_pop(L, 1);
  lua_getfield(L, -1, LUA_MATHLIBNAME);
  sslua_random_open(L);
  lua_pop(L, 1);
  lua_getfield(L, -1, LUA_OSLIBNAME);
  if (!(settings & SSLUA_OS_EXIT)) remove_fields(L, (const char *const[]){"exit", NULL});
  if (!(settings & SSLUA_OS_SETLOCALE)) remove_fields(L, (const char *const[]){"setlocale", NULL});
  if (!(settings & SSLUA_IO)) remove_fields(L, (const char *const[]){"execute", "remove", "rename", "tmpname", NULL});
  lua_pop(L, 1);
  if (settings & SSLUA_IO) {
    luaL_requiref(L, LUA_IOLIBNAME, luaopen_io, 1);
    lua_pop(L, 1);
    luaL_getmetatable(L, LUA_FILEHANDLE);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
  }
  if (!(settings & SSLUA_DEBUG)) {
    lua_getfield(L, -1, LUA_DBLIBNAME);
    lua_createtable(L, 0, 1);
    lua_getfield(L, -2, "traceback");
    lua_setfield(L, -2, "traceback");
    lua_setfield(L, -3, LUA_DBLIBNAME);
    lua_pop(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushnil(L);
    lua_setfield(L, -2, LUA_DBLIBNAME);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  lua_pushliteral(L, "");
  lua_getmetatable(L, -1);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 2);
}

/* [fiber; no; may raise] */
void sslua_libraries_protect(lua_State *L) {
  static const char *const names[] = {LUA_TABLIBNAME, LUA_STRLIBNAME, LUA_MATHLIBNAME, LUA_UTF8LIBNAME, LUA_COLIBNAME,
                                      LUA_OSLIBNAME,  LUA_DBLIBNAME,  LUA_IOLIBNAME,   NULL};
  sethvalue2s(L, L->top.p, sslua_of(L)->base);
  L->top.p++;
  for (const char *const *name = names; *name != NULL; name++) {
    if (lua_getfield(L, -1, *name) != LUA_TTABLE) {
      lua_pop(L, 1);
      continue;
    }
    sslua_protect(L, *name);
    lua_pushvalue(L, -1);
    sslua_set_loaded(L, *name);
    lua_setfield(L, -2, *name);
  }
  lua_getfield(L, -1, "_G");
  sslua_set_loaded(L, "_G");
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
  lua_pop(L, 1);
}
