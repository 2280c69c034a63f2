/*
 * Chunks from files.
 *
 * The stock loader holds its FILE over entries to the API, each of which may raise when the call is to end. Here the file
 * is a stream of the io library: to be closed with its scope, and collected if a kill takes the scope away.
 */
#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = 64 * 1024 };

/* [fiber; no; no] */
const char *sslua_lua_part(const char *text, size_t *len) {
  if (*len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
    text += 3;
    *len -= 3;
  }
  if (*len > 0 && text[0] == '#')
    while (*len > 0 && *text != '\n') text++, --*len;
  return text;
}

/* How the io library closes it: the stream is at 1. [fiber; no; no] */
static int close_stream(lua_State *L) {
  luaL_Stream *stream = lua_touserdata(L, 1);
  fclose(stream->f);
  return 0;
}

/* Pushes why the file could not be used, in the stock loader's words. [fiber; no; may raise] */
static int failed(lua_State *L, const char *what, const char *name, int error) {
  if (error != 0)
    lua_pushfstring(L, "cannot %s %s: %s", what, name, strerror(error));
  else
    lua_pushfstring(L, "cannot %s %s", what, name);
  return LUA_ERRFILE;
}

/* Pushes the file's text, or a message. [fiber; no; may raise] */
static int read_file(lua_State *L, const char *name) {
  luaL_Stream *stream = lua_newuserdatauv(L, sizeof(*stream), 0);
  int at = lua_gettop(L);
  stream->closef = NULL;
  luaL_setmetatable(L, LUA_FILEHANDLE);
  lua_toclose(L, at);
  errno = 0;
  stream->f = fopen(name, "rb");
  if (stream->f == NULL) {
    failed(L, "open", name, errno);
    lua_closeslot(L, at);
    return LUA_ERRFILE;
  }
  stream->closef = close_stream;
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  size_t n;
  do {
    lua_lock(L); /* a look-up for each piece */
    n = fread(luaL_prepbuffsize(&b, CHUNK), 1, CHUNK, stream->f);
    luaL_addsize(&b, n);
  } while (n == CHUNK);
  int error = ferror(stream->f) ? errno : 0;
  luaL_pushresult(&b);
  lua_closeslot(L, at);
  return error != 0 ? failed(L, "read", name, error) : LUA_OK;
}

/* Compiles a file; pushes the function, or a message. [fiber; no; may raise] */
static int load_path(lua_State *L, const char *name, const char *mode) {
  if (name == NULL) return luaL_loadfilex(L, NULL, mode);
  int top = lua_gettop(L);
  luaL_checkstack(L, 10, NULL);
  int status = read_file(L, name);
  if (status == LUA_OK) {
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    text = sslua_lua_part(text, &len);
    if (len > 1 && text[0] == '\n' && text[1] == LUA_SIGNATURE[0]) text++, len--; /* precompiled, behind a line for the shell */
    const char *chunk = lua_pushfstring(L, "@%s", name);
    status = luaL_loadbufferx(L, text, len, chunk, mode);
  }
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  return status;
}

/* The mode in which a script may load, given the one that it asks for. [fiber; no; no] */
static const char *allowed(lua_State *L, const char *mode) {
  if (sslua_of(L)->settings & SSLUA_BINARY_CHUNKS) return mode;
  return mode == NULL || strchr(mode, 't') != NULL ? "t" : "";
}

/* loadfile(name, mode, env). [fiber; no; may raise] */
static int base_loadfile(lua_State *L) {
  const char *name = luaL_optstring(L, 1, NULL);
  const char *mode = luaL_optstring(L, 2, NULL);
  int env = !lua_isnone(L, 3);
  if (load_path(L, name, allowed(L, mode)) != LUA_OK) {
    luaL_pushfail(L);
    lua_insert(L, -2);
    return 2;
  }
  if (env) {
    lua_pushvalue(L, 3);
    if (lua_setupvalue(L, -2, 1) == NULL) lua_pop(L, 1);
  }
  return 1;
}

/* [fiber; no; no] */
static int dofile_results(lua_State *L, int status, lua_KContext context) {
  (void)status;
  (void)context;
  return lua_gettop(L) - 1;
}

/* dofile(name). [fiber; may suspend; may raise] */
static int base_dofile(lua_State *L) {
  const char *name = luaL_optstring(L, 1, NULL);
  lua_settop(L, 1);
  if (load_path(L, name, allowed(L, NULL)) != LUA_OK) return lua_error(L);
  lua_callk(L, 0, LUA_MULTRET, 0, dofile_results);
  return dofile_results(L, LUA_OK, 0);
}

/* [fiber; no; may raise] */
void sslua_files_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"loadfile", base_loadfile}, {"dofile", base_dofile}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
