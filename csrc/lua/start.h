/* Bringing a universe up. */
#ifndef SIDESTACK_LUA_START_H
#define SIDESTACK_LUA_START_H

#include "universe.h"

/* What SSLUA_START does, on the run's Lua thread. [fiber; may suspend; may raise] */
void sslua_start(lua_State *L);

#endif
