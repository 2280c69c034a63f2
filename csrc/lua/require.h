/* require, for host modules and the scripts' own. */
#ifndef SIDESTACK_LUA_REQUIRE_H
#define SIDESTACK_LUA_REQUIRE_H

#include "universe.h"

/* Puts require and package into the base table. [fiber; no; may raise] */
void sslua_require_open(lua_State *L);
/* The run was abandoned: nobody is to wait for what it was loading. [interpreter thread; no; no] */
void sslua_loading_abandon(sslua *u, const sslua_run *run);
/* The frames of this run below `frame` are gone, killed: what they were loading is not loaded. [fiber; no; no] */
void sslua_loading_sweep(sslua *u, const sslua_run *run, const void *frame);
/* [interpreter thread; no; no] */
void sslua_loading_free(sslua *u);

#endif
