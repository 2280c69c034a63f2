/* The libraries that scripts get, and what is taken out of them. */
#ifndef SIDESTACK_LUA_SANDBOX_H
#define SIDESTACK_LUA_SANDBOX_H

#include "universe.h"

/* Opens the libraries into the base table, before sslua_env_open(). [fiber; no; may raise] */
void sslua_libraries_open(lua_State *L);
/* Puts read-only proxies in the libraries' places, after sslua_env_open(). [fiber; no; may raise] */
void sslua_libraries_protect(lua_State *L);
/* Replaces the table on top by a read-only proxy of it, called `name` in errors. [fiber; no; may raise] */
void sslua_protect(lua_State *L, const char *name);
/* Puts the module on top where require finds it, and pops it. [fiber; no; may raise] */
void sslua_set_loaded(lua_State *L, const char *name);

#endif
