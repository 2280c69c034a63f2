/* Interrupting running Lua code, and killing it. */
#ifndef SIDESTACK_LUA_INTERRUPT_H
#define SIDESTACK_LUA_INTERRUPT_H

#include "universe.h"

/* Raises the kill: past every handler, and again as soon as somebody catches it. [fiber; no; raises] */
_Noreturn void sslua_kill(lua_State *L);

/* Whether the value at `index` is what sslua_kill() raises. [fiber; no; no] */
int sslua_is_kill(lua_State *L, int index);

#endif
