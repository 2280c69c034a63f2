/* Errors: the value that scripts catch, and the four values that cross. */
#ifndef SIDESTACK_LUA_ERRORS_H
#define SIDESTACK_LUA_ERRORS_H

#include "universe.h"

/* Makes the metatable of error objects. [fiber; no; may raise] */
void sslua_error_open(lua_State *L);
/* Pushes an error object for what the host reports. [fiber; no; may raise] */
void sslua_error_push(lua_State *L, const ss_value values[SS_ERROR_VALUES]);
/* Pushes one of our own making. [fiber; no; may raise] */
void sslua_error_new(lua_State *L, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Whether the value is an error object. [fiber; no; no] */
int sslua_is_error(lua_State *L, int index);
/* Turns the value on top, anything that was raised on `from`, into an error object. [fiber; may suspend (__tostring); may raise] */
void sslua_error_capture(lua_State *L, lua_State *from, int level);
/* A message handler: sslua_error_capture(). [fiber; may suspend; may raise] */
int sslua_error_handler(lua_State *L);
/* Pushes three values that keep the strings of `out` alive. [fiber; no; may raise] */
void sslua_error_values(lua_State *L, int index, ss_value out[SS_ERROR_VALUES]);
/* An error that needs no memory. [any; no; no] */
void sslua_error_static(const char *code, const char *message, ss_value out[SS_ERROR_VALUES]);

#endif
