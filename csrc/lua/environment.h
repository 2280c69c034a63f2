/* Globals: one proxy for all chunks, one table a fiber. */
#ifndef SIDESTACK_LUA_ENVIRONMENT_H
#define SIDESTACK_LUA_ENVIRONMENT_H

#include "universe.h"

/* Makes the proxy and installs it as the globals; the real table stays as the base. [fiber; no; may raise] */
void sslua_env_open(lua_State *L);

/* Points the proxy at what `run` sees. [interpreter thread; no; no] */
void sslua_env_select(sslua *u, const sslua_run *run);

/* The current run is about to work for script number `script` - 1 (0: none). [fiber; no; no] */
void sslua_env_begin(sslua *u, sslua_run *run, uint32_t script);

/* The run is over. [fiber; no; no] */
void sslua_env_end(sslua *u, sslua_run *run);

/* Pushes a copy of all globals that the current run sees. [fiber; no; may raise] */
void sslua_env_push_merged(lua_State *L);

/* Pushes the current run's own globals, complete, for next(). [fiber; no; may raise] */
void sslua_env_push_own(lua_State *L);

/* Whether the table at `index` is the proxy. [fiber; no; no] */
int sslua_is_env(lua_State *L, int index);

/* rawget and rawset on the proxy: replace the key (and the value) on top of the stack. [fiber; no; may raise] */
void sslua_env_rawget(lua_State *L);
void sslua_env_rawset(lua_State *L);

#endif
