/*
 * Errors.
 *
 * What a host function raises reaches the script as an error object, a userdata that holds the host's number of the
 * original error and four user values:
 *
 *   1 code       string or nil; "stack" where Lua's own error is about the C stack
 *   2 message    string, as the host wrote it
 *   3 traceback  string
 *   4 where      "file:line: " of the raising call, which tostring() puts before the message as Lua's own errors have it
 *
 * Fields read by name: e.code, e.message, e.traceback. The number is out of the script's reach; if nobody catches the
 * object, it tells the host which of its errors that was. Scripts may raise what they like: of a table `code` and
 * `message` are taken, of anything else what tostring() makes of it.
 *
 * Tracebacks are written here, in luaL_traceback's words but without its search for every function's global name, which walks all
 * libraries once a level.
 */
#include "errors.h"

#include <stdarg.h>
#include <string.h>

enum { CODE = 1, MESSAGE, TRACEBACK, WHERE };

/* [fiber; no; no] */
int sslua_is_error(lua_State *L, int index) {
  const TValue *o = s2v(index > 0 ? L->ci->func.p + index : L->top.p + index);
  return ttisfulluserdata(o) && uvalue(o)->metatable != NULL && uvalue(o)->metatable == sslua_of(L)->error_meta;
}

/* Pushes a traceback of `from`, from `level` on. [fiber; no; may raise] */
static void traceback(lua_State *L, lua_State *from, int level) {
  enum { HEAD = 10, TAIL = 11 };
  luaL_Buffer b;
  lua_Debug ar;
  int last = 0; /* counted at once: lua_getstack walks to its level each time */
  for (const CallInfo *ci = from->ci; ci != &from->base_ci; ci = ci->previous) last++;
  luaL_buffinit(L, &b);
  luaL_addstring(&b, "stack traceback:");
  for (int i = level; i < last && lua_getstack(from, i, &ar); i++) {
    if (i - level == HEAD && last - i > TAIL) {
      lua_pushfstring(L, "\n\t...\t(skipping %d levels)", last - TAIL - i);
      luaL_addvalue(&b);
      i = last - TAIL - 1;
      continue;
    }
    lua_getinfo(from, "Slnt", &ar);
    lua_pushfstring(L, ar.currentline > 0 ? "\n\t%s:%d: in " : "\n\t%s: in ", ar.short_src, ar.currentline);
    luaL_addvalue(&b);
    if (*ar.namewhat != '\0') {
      lua_pushfstring(L, "%s '%s'", ar.namewhat, ar.name);
      luaL_addvalue(&b);
    } else if (*ar.what == 'm') {
      luaL_addstring(&b, "main chunk");
    } else if (*ar.what != 'C') {
      lua_pushfstring(L, "function <%s:%d>", ar.short_src, ar.linedefined);
      luaL_addvalue(&b);
    } else {
      luaL_addchar(&b, '?');
    }
    if (ar.istailcall) luaL_addstring(&b, "\n\t(...tail calls...)");
  }
  luaL_pushresult(&b);
}

/* Makes an error object of the values code, message, traceback, where on top. [fiber; no; may raise] */
static void make(lua_State *L, int64_t id) {
  int64_t *ud = lua_newuserdatauv(L, sizeof(*ud), WHERE);
  *ud = id;
  lua_insert(L, -1 - WHERE);
  for (int i = WHERE; i >= CODE; i--) lua_setiuservalue(L, -1 - i, i);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_error);
  lua_setmetatable(L, -2);
}

/* [fiber; no; may raise] */
static void push_string(lua_State *L, const ss_value *v) {
  if (v->tag == SS_STRING || v->tag == SS_BYTES)
    lua_pushlstring(L, v->as.bytes, v->len);
  else
    lua_pushnil(L);
}

/* [fiber; no; may raise] */
void sslua_error_push(lua_State *L, const ss_value values[SS_ERROR_VALUES]) {
  luaL_checkstack(L, 12, NULL);
  push_string(L, &values[0]);
  push_string(L, &values[1]);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushliteral(L, "host error");
  }
  push_string(L, &values[2]);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    traceback(L, L, 0);
  }
  luaL_where(L, 1);
  make(L, values[3].tag == SS_INT ? values[3].as.integer : 0);
}

/* [fiber; no; may raise] */
void sslua_error_new(lua_State *L, const char *code, const char *format, ...) {
  luaL_checkstack(L, 12, NULL);
  if (code != NULL)
    lua_pushstring(L, code);
  else
    lua_pushnil(L);
  va_list list;
  va_start(list, format);
  lua_pushvfstring(L, format, list);
  va_end(list);
  traceback(L, L, 0);
  luaL_where(L, 1);
  make(L, 0);
}

/* Pushes field `name` of the table at `index`, raw, if it is a string; else nil. [fiber; no; may raise] */
static void raw_string(lua_State *L, int index, const char *name) {
  lua_pushstring(L, name);
  lua_rawget(L, index);
  if (lua_type(L, -1) != LUA_TSTRING) {
    lua_pop(L, 1);
    lua_pushnil(L);
  }
}

/* Whether Lua has found too little of the C stack left (config.h). [fiber; no; no] */
static int is_overflow(lua_State *L, int index) {
  static const char text[] = "C stack overflow";
  size_t len = 0, own = sizeof(text) - 1;
  const char *message = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &len) : NULL;
  return len >= own && memcmp(message + len - own, text, own) == 0;
}

/* [fiber; may suspend; may raise] */
void sslua_error_capture(lua_State *L, lua_State *from, int level) {
  luaL_checkstack(L, 12, NULL);
  int error = lua_gettop(L);
  if (sslua_is_error(L, error)) return;
  if (lua_istable(L, error)) {
    raw_string(L, error, "code");
    raw_string(L, error, "message");
    if (lua_isnil(L, -1)) {
      lua_pop(L, 1);
      luaL_tolstring(L, error, NULL);
    }
    raw_string(L, error, "traceback");
    if (lua_isnil(L, -1)) {
      lua_pop(L, 1);
      traceback(L, from, level);
    }
  } else {
    if (is_overflow(L, error))
      lua_pushliteral(L, "stack");
    else
      lua_pushnil(L);
    luaL_tolstring(L, error, NULL);
    traceback(L, from, level);
  }
  lua_pushliteral(L, "");
  make(L, 0);
  lua_replace(L, error);
}

/* [fiber; may suspend; may raise] */
int sslua_error_handler(lua_State *L) {
  sslua_error_capture(L, L, 1);
  return 1;
}

/* [fiber; no; may raise] */
void sslua_error_values(lua_State *L, int index, ss_value out[SS_ERROR_VALUES]) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 4, NULL);
  memset(out, 0, sizeof(*out) * SS_ERROR_VALUES);
  for (int i = CODE; i <= TRACEBACK; i++) {
    size_t len;
    lua_getiuservalue(L, index, i);
    if (lua_type(L, -1) != LUA_TSTRING) continue;
    out[i - 1].tag = SS_STRING;
    out[i - 1].as.bytes = lua_tolstring(L, -1, &len);
    out[i - 1].len = len > UINT32_MAX ? UINT32_MAX : (uint32_t)len;
  }
  out[3].tag = SS_INT;
  out[3].as.integer = *(int64_t *)lua_touserdata(L, index);
}

/* [any; no; no] */
void sslua_error_static(const char *code, const char *message, ss_value out[SS_ERROR_VALUES]) {
  memset(out, 0, sizeof(*out) * SS_ERROR_VALUES);
  if (code != NULL) out[0] = (ss_value){SS_STRING, (uint32_t)strlen(code), {.bytes = code}};
  out[1] = (ss_value){SS_STRING, (uint32_t)strlen(message), {.bytes = message}};
  out[3].tag = SS_INT;
}

/* __index(error, name) [fiber; no; may raise] */
static int error_index(lua_State *L) {
  static const char *const names[] = {"code", "message", "traceback"};
  if (!sslua_is_error(L, 1) || lua_type(L, 2) != LUA_TSTRING) return 0;
  const char *name = lua_tostring(L, 2);
  for (int i = 0; i < 3; i++)
    if (strcmp(name, names[i]) == 0) {
      lua_getiuservalue(L, 1, i + 1);
      return 1;
    }
  return 0;
}

/* [fiber; no; may raise] */
static int error_tostring(lua_State *L) {
  if (!sslua_is_error(L, 1)) return 0;
  lua_getiuservalue(L, 1, WHERE);
  lua_getiuservalue(L, 1, MESSAGE);
  lua_concat(L, 2);
  return 1;
}

/* "..": like the strings that Lua's own errors are. [fiber; may suspend; may raise] */
static int error_concat(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  luaL_tolstring(L, 2, NULL);
  lua_concat(L, 2);
  return 1;
}

/* [fiber; no; may raise] */
void sslua_error_open(lua_State *L) {
  static const luaL_Reg events[] = {
      {"__index", error_index}, {"__tostring", error_tostring}, {"__concat", error_concat}, {NULL, NULL}};
  lua_createtable(L, 0, 6);
  luaL_setfuncs(L, events, 0);
  lua_pushliteral(L, "error");
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &sslua_key_error);
  sslua_of(L)->error_meta = sslua_anchor(L);
}
