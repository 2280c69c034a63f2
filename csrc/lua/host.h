/* The host's functions, modules and classes in Lua. */
#ifndef SIDESTACK_LUA_HOST_H
#define SIDESTACK_LUA_HOST_H

#include "universe.h"

/* Makes the classes' metatables. [fiber; no; may raise] */
void sslua_classes_open(lua_State *L);
/* Pushes a host function. [fiber; no; may raise] */
void sslua_push_function(lua_State *L, uint32_t id, uint32_t flags);
/* Pushes a table of a module's functions. [fiber; no; may raise] */
void sslua_push_module(lua_State *L, const ss_module_desc *module);
/* Calls a host function with stack values 1..nargs; returns the number of results pushed. [fiber; may suspend; may raise] */
int sslua_host_call(lua_State *L, uint32_t id, uint32_t flags, int nargs);

#endif
