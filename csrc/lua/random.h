/* math.random and math.randomseed with one state a fiber. */
#ifndef SIDESTACK_LUA_RANDOM_H
#define SIDESTACK_LUA_RANDOM_H

#include "universe.h"

/* Replaces both in the table on top. [fiber; no; may raise] */
void sslua_random_open(lua_State *L);

#endif
