/*
 * Bringing a universe up: the first run, alone. Libraries into the base table; the proxy in front of it; read-only proxies in
 * the libraries' places; the host's classes and modules; require; and the prelude, Lua text that gets the host module
 * sidestack.core and returns the module `sidestack`.
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
    u->class_meta = calloc(u->host->nclasses, sizeof(*u->class_meta));
    if (u->class_meta == NULL) luaL_error(L, "not enough memory");
  }
  registry_table(L, &sslua_key_refs);
  registry_table(L, &sslua_key_scripts);
  registry_table(L, &sslua_key_loaded);
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
  lua_call(L, 1, 1);
  sslua_protect(L, "sidestack");
  sslua_set_loaded(L, "sidestack");
}
