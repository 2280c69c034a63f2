/*
 * Bringing a universe up: the first run, alone. Libraries into the base table; the proxy in front of it; read-only proxies in
 * the libraries' places; the host's classes and modules; require; and the prelude, Lua text that gets the host module
 * sidestack.core and the classes' methods, and returns the module `sidestack`.
 */
#include <stdlib.h>
#include <string.h>

#include "environment.h"
#include "errors.h"
#include "host.h"
#include "require.h"
#include "start.h"
#include "sandbox.h"
#include "values.h"

/* [fiber; no; may raise] */
static void registry_table(lua_State *L, const char *key) {
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

/* protect(name, table), for the prelude. [fiber; no; may raise] */
static int protect(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  sslua_protect(L, name);
  return 1;
}

/* Makes the host's modules; leaves that of the prelude, or nil, on the stack. [fiber; no; may raise] */
static void open_modules(lua_State *L) {
  sslua *u = sslua_of(L);
  lua_pushnil(L);
  for (uint32_t i = 0; i < u->host->nmodules; i++) {
    const ss_module_desc *m = &u->host->modules[i];
    sslua_push_module(L, m);
    if (strcmp(m->name, "sidestack.core") == 0) {
      lua_replace(L, -2);
      continue;
    }
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE); /* where debug.traceback finds names */
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, m->name);
    lua_pop(L, 1);
    sslua_protect(L, m->name);
    sslua_set_loaded(L, m->name);
  }
}

/* [fiber; may suspend; may raise] */
void sslua_start(lua_State *L) {
  sslua *u = sslua_of(L);
  luaL_checkstack(L, 20, NULL);
  if (u->host->nclasses > 0) {
    u->class_meta = sslua_heap_calloc(u->heap, u->host->nclasses, sizeof(*u->class_meta));
    if (u->class_meta == NULL) luaL_error(L, "not enough memory");
  }
  registry_table(L, &sslua_key_refs);
  registry_table(L, &sslua_key_scripts);
  registry_table(L, &sslua_key_loaded);
  registry_table(L, &sslua_key_methods);
  sslua_error_open(L);
  sslua_values_open(L);
  sslua_libraries_open(L);
  sslua_env_open(L);
  sslua_env_begin(u, u->run, 0);
  sslua_libraries_protect(L);
  sslua_classes_open(L);
  open_modules(L);
  sslua_require_open(L);
  if (lua_isnil(L, -1) || u->prelude == NULL) return;
  if (luaL_loadbufferx(L, u->prelude, u->prelude_len, "=sidestack", "t") != LUA_OK) lua_error(L);
  lua_insert(L, -2);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_methods);
  lua_pushcfunction(L, protect);
  lua_call(L, 3, 1);
  sslua_protect(L, "sidestack");
  sslua_set_loaded(L, "sidestack");
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &sslua_key_methods);
}
