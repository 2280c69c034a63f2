/* loadfile and dofile, for scripts that may use `io`. */
#ifndef SIDESTACK_LUA_FILES_H
#define SIDESTACK_LUA_FILES_H

#include "universe.h"

/* Sets both in the table on top; `io` is open. [fiber; no; may raise] */
void sslua_files_open(lua_State *L);
/* Leaves out what is not Lua: a byte order mark, and a first line for the shell (but its end, for the line numbers).
   [fiber; no; no] */
const char *sslua_lua_part(const char *text, size_t *len);

#endif
