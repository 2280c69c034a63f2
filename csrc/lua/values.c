/*
 * Values across the border.
 *
 * Lua → host. Up to SSLUA_SMALL scalars are written to an array in the caller's frame, straight from the Lua stack. Everything
 * else goes to a buffer: a userdata on the Lua stack, so an error or a kill leaves nothing behind. It grows by a larger
 * one in the same stack slot. Three slots are used:
 *
 *   buffer    the entries; it gets the metatable with __gc before the first reference is made, so that references
 *             of a call that was never settled are given back by the collector
 *   arena     bytes of short strings out of tables: the table may change while the host still reads (each chunk has the
 *             one before as its user value)
 *   anchors   a table that keeps the longer ones
 *
 * Tables are read raw: keys 1..n and nothing else make a list, the empty table is a list of none, everything else a
 * map. A function becomes a slot of the reference table. Depth is limited to DEPTH, which also ends cycles.
 *
 * Host → Lua. Plain construction; pairs whose value is SS_NIL are left out. An object is claimed once it can be collected.
 */
#include "values.h"

#include <string.h>

#include "errors.h"
#include "refs.h"

enum { DEPTH = 100, SHORT = 255, CHUNK = 4000 };

typedef struct buffer {
  uint32_t entries, capacity;
  ss_value values[];
} buffer;

typedef struct arena {
  uint32_t used, capacity;
  char bytes[];
} arena;

typedef struct encoder {
  lua_State *L;
  int by_reference;
  int buffer_at, arena_at, anchors_at; /* stack indices */
  buffer *buffer;
  arena *arena;
  int anchors; /* entries in the anchor table */
  int references;
} encoder;

/* ---- Lua to host ---- */

/* Returns 0 if it is no scalar. [fiber; no; no] */
static int scalar(const TValue *o, ss_value *out) {
  switch (ttypetag(o)) {
    case LUA_VNIL:
      *out = (ss_value){.tag = SS_NIL};
      return 1;
    case LUA_VFALSE:
      *out = (ss_value){.tag = SS_BOOL};
      return 1;
    case LUA_VTRUE:
      *out = (ss_value){.tag = SS_BOOL, .as.integer = 1};
      return 1;
    case LUA_VNUMINT:
      *out = (ss_value){.tag = SS_INT, .as.integer = ivalue(o)};
      return 1;
    case LUA_VNUMFLT:
      *out = (ss_value){.tag = SS_FLOAT, .as.number = fltvalue(o)};
      return 1;
    case LUA_VSHRSTR:
      *out = (ss_value){.tag = SS_STRING, .len = tsvalue(o)->shrlen, .as.bytes = getstr(tsvalue(o))};
      return 1;
    case LUA_VLNGSTR:
      if (tsvalue(o)->u.lnglen > UINT32_MAX) return 0;
      *out = (ss_value){.tag = SS_STRING, .len = (uint32_t)tsvalue(o)->u.lnglen, .as.bytes = getstr(tsvalue(o))};
      return 1;
    case LUA_VLIGHTUSERDATA:
      if (pvalue(o) != NULL) return 0;
      *out = (ss_value){.tag = SS_NULL};
      return 1;
    default:
      return 0;
  }
}

/* [fiber; no; no] */
sslua_object *sslua_to_object(lua_State *L, int index) {
  const TValue *o = s2v(index > 0 ? L->ci->func.p + index : L->top.p + index);
  if ((index > 0 && L->ci->func.p + index >= L->top.p) || !ttisfulluserdata(o)) return NULL;
  sslua *u = sslua_of(L);
  Udata *ud = uvalue(o);
  if (ud->metatable == NULL || ud->len != sizeof(sslua_object)) return NULL;
  sslua_object *object = (void *)getudatamem(ud);
  if (object->class >= u->host->nclasses || u->class_meta[object->class] != ud->metatable) return NULL;
  return object;
}

/* __gc of buffers: the call was never settled. [fiber; no; no] */
static int buffer_gc(lua_State *L) {
  buffer *b = lua_touserdata(L, 1);
  uint32_t entries = b->entries;
  b->entries = 0;
  sslua_refs_settle(sslua_of(L), b->values, entries);
  return 0;
}

/* [fiber; no; may raise] */
void sslua_values_open(lua_State *L) {
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, buffer_gc);
  lua_setfield(L, -2, "__gc");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &sslua_key_buffer);
}

/* [fiber; no; may raise] */
static void guard_buffer(encoder *e) {
  lua_rawgetp(e->L, LUA_REGISTRYINDEX, &sslua_key_buffer);
  lua_setmetatable(e->L, e->buffer_at);
}

/* Index of a new entry. [fiber; no; may raise] */
static uint32_t entry(encoder *e) {
  buffer *old = e->buffer;
  if (old == NULL || old->entries == old->capacity) {
    uint32_t capacity = old == NULL ? 16 : old->capacity * 2;
    if (capacity > (1u << 27)) luaL_error(e->L, "value too large");
    buffer *grown = lua_newuserdatauv(e->L, sizeof(buffer) + capacity * sizeof(ss_value), 0);
    grown->entries = 0;
    grown->capacity = capacity;
    if (old != NULL) {
      memcpy(grown->values, old->values, old->entries * sizeof(ss_value));
      if (e->references) { /* from here on the new one answers for the references */
        lua_rawgetp(e->L, LUA_REGISTRYINDEX, &sslua_key_buffer);
        lua_setmetatable(e->L, -2);
      }
      grown->entries = old->entries;
      old->entries = 0;
    }
    lua_replace(e->L, e->buffer_at);
    e->buffer = grown;
  }
  uint32_t index = e->buffer->entries++;
  e->buffer->values[index] = (ss_value){.tag = SS_NIL};
  return index;
}

/* Keeps a string from a table alive. [fiber; no; may raise] */
static void keep(encoder *e, int index, ss_value *v) {
  lua_State *L = e->L;
  if (v->len > SHORT) {
    lua_pushvalue(L, index);
    if (e->anchors == 0) {
      lua_createtable(L, 4, 0);
      lua_replace(L, e->anchors_at);
    }
    lua_rawseti(L, e->anchors_at, ++e->anchors);
    return;
  }
  if (e->arena == NULL || e->arena->capacity - e->arena->used < v->len) {
    uint32_t capacity = e->arena == NULL ? 480 : CHUNK;
    arena *chunk = lua_newuserdatauv(L, sizeof(arena) + capacity, 1);
    chunk->used = 0;
    chunk->capacity = capacity;
    if (e->arena != NULL) {
      lua_pushvalue(L, e->arena_at);
      lua_setiuservalue(L, -2, 1);
    }
    lua_replace(L, e->arena_at);
    e->arena = chunk;
  }
  char *bytes = e->arena->bytes + e->arena->used;
  memcpy(bytes, v->as.bytes, v->len);
  e->arena->used += v->len;
  v->as.bytes = bytes;
}

/* Whether the table's keys are exactly 1..n: n, else -1. [fiber; no; may raise] */
static int64_t list_length(lua_State *L, int index) {
  int64_t n = (int64_t)lua_rawlen(L, index), seen = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (!lua_isinteger(L, -2)) goto map;
    lua_Integer key = lua_tointeger(L, -2);
    if (key < 1 || key > n) goto map;
    seen++;
  }
  return seen == n ? n : -1;
map:
  lua_pop(L, 2);
  return -1;
}

static void encode(encoder *e, int index, int depth);

/* [fiber; no; may raise] */
static void encode_table(encoder *e, int index, int depth) {
  lua_State *L = e->L;
  if (depth > DEPTH) luaL_error(L, "nested too deeply or cyclic");
  luaL_checkstack(L, 6, NULL);
  uint32_t head = entry(e);
  int64_t n = list_length(L, index);
  if (n >= 0) {
    e->buffer->values[head].tag = SS_LIST;
    for (int64_t i = 1; i <= n; i++) {
      lua_rawgeti(L, index, i);
      encode(e, lua_gettop(L), depth + 1);
      lua_pop(L, 1);
    }
    e->buffer->values[head].len = (uint32_t)n;
    return;
  }
  uint32_t pairs = 0;
  e->buffer->values[head].tag = SS_MAP;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    int value = lua_gettop(L);
    int key = lua_type(L, value - 1);
    if (key != LUA_TSTRING && key != LUA_TNUMBER && key != LUA_TBOOLEAN)
      luaL_error(L, "a %s as a key cannot cross to the host", luaL_typename(L, value - 1));
    encode(e, value - 1, depth + 1);
    encode(e, value, depth + 1);
    pairs++;
  }
  e->buffer->values[head].len = pairs;
}

/* [fiber; no; may raise] */
static void encode_reference(encoder *e, int index, uint32_t tag) {
  if (!e->references) {
    /* The buffer exists: entry() comes first. */
    uint32_t at = entry(e);
    guard_buffer(e);
    e->references = 1;
    lua_pushvalue(e->L, index);
    uint64_t slot = sslua_ref_add(e->L);
    e->buffer->values[at].as.key = slot;
    e->buffer->values[at].tag = tag;
    return;
  }
  uint32_t at = entry(e);
  lua_pushvalue(e->L, index);
  e->buffer->values[at].as.key = sslua_ref_add(e->L);
  e->buffer->values[at].tag = tag;
}

/* An error object as data. [fiber; no; may raise] */
static void encode_error(encoder *e, int index, int depth) {
  static const char *const names[] = {"code", "message", "traceback"};
  ss_value values[SS_ERROR_VALUES];
  luaL_checkstack(e->L, 10, NULL);
  sslua_error_values(e->L, index, values);
  int strings = lua_gettop(e->L) - 2;
  uint32_t head = entry(e);
  e->buffer->values[head].tag = SS_MAP;
  e->buffer->values[head].len = 3;
  for (int i = 0; i < 3; i++) {
    uint32_t key = entry(e);
    e->buffer->values[key] = (ss_value){SS_STRING, (uint32_t)strlen(names[i]), {.bytes = names[i]}};
    encode(e, strings + i, depth + 1);
  }
  lua_pop(e->L, 3);
}

/* [fiber; no; may raise] */
static void encode(encoder *e, int index, int depth) {
  lua_State *L = e->L;
  ss_value v;
  if (scalar(s2v(L->ci->func.p + index), &v)) {
    if (v.tag == SS_NULL && e->by_reference) { /* the host has but one nil */
      encode_reference(e, index, SS_REFERENCE);
      return;
    }
    if (v.tag == SS_STRING && depth > 0) keep(e, index, &v);
    uint32_t at = entry(e);
    e->buffer->values[at] = v;
    return;
  }
  int type = lua_type(L, index);
  sslua_object *object;
  if (type == LUA_TFUNCTION) {
    encode_reference(e, index, SS_FUNCTION);
  } else if ((object = sslua_to_object(L, index)) != NULL) {
    uint32_t at = entry(e);
    e->buffer->values[at] = (ss_value){.tag = SS_OBJECT, .len = object->class, .as.key = object->key};
  } else if (e->by_reference && type != LUA_TSTRING) {
    encode_reference(e, index, SS_REFERENCE);
  } else if (type == LUA_TTABLE) {
    encode_table(e, index, depth);
  } else if (type == LUA_TUSERDATA && sslua_is_error(L, index)) {
    encode_error(e, index, depth);
  } else if (type == LUA_TSTRING) {
    luaL_error(L, "a string of 4 GiB or more cannot cross to the host");
  } else {
    luaL_error(L, "a value of type %s cannot cross to the host", type == LUA_TLIGHTUSERDATA ? "userdata" : lua_typename(L, type));
  }
}

/* [fiber; no; may raise] */
void sslua_encode(lua_State *L, int first, int last, int by_reference, sslua_encoded *out) {
  uint32_t count = last >= first ? (uint32_t)(last - first + 1) : 0;
  out->count = count;
  out->references = 0;
  if (count <= SSLUA_SMALL) {
    const StackValue *value = L->ci->func.p + first;
    uint32_t i = 0;
    while (i < count && scalar(s2v(value + i), &out->small[i]) && !(by_reference && out->small[i].tag == SS_NULL)) i++;
    if (i == count) {
      out->values = out->small;
      out->entries = count;
      return;
    }
  }
  luaL_checkstack(L, 10, NULL);
  encoder e = {.L = L, .by_reference = by_reference};
  lua_pushnil(L);
  lua_pushnil(L);
  lua_pushnil(L);
  e.buffer_at = lua_gettop(L) - 2;
  e.arena_at = e.buffer_at + 1;
  e.anchors_at = e.buffer_at + 2;
  for (int i = first; i <= last; i++) encode(&e, i, 0);
  out->values = e.buffer->values;
  out->entries = e.buffer->entries;
  out->references = e.references;
}

/* [fiber; no; no] */
void sslua_settle(lua_State *L, sslua_encoded *encoded) {
  if (encoded->references) sslua_refs_settle(sslua_of(L), encoded->values, encoded->entries);
}

/* ---- host to Lua ---- */

/* [fiber; no; may raise] */
static const ss_value *decode(lua_State *L, const ss_value *v, int depth) {
  switch (v->tag & ~SS_CLAIMED) {
    case SS_NIL:
      lua_pushnil(L);
      return v + 1;
    case SS_NULL:
      lua_pushlightuserdata(L, NULL);
      return v + 1;
    case SS_BOOL:
      lua_pushboolean(L, v->as.integer != 0);
      return v + 1;
    case SS_INT:
      lua_pushinteger(L, v->as.integer);
      return v + 1;
    case SS_FLOAT:
      lua_pushnumber(L, v->as.number);
      return v + 1;
    case SS_STRING:
    case SS_BYTES:
      lua_pushlstring(L, v->as.bytes, v->len);
      return v + 1;
    case SS_FUNCTION:
    case SS_REFERENCE:
      luaL_checkstack(L, 3, NULL);
      sslua_ref_push(L, v->as.key);
      return v + 1;
    case SS_OBJECT: {
      luaL_checkstack(L, 3, NULL);
      sslua *u = sslua_of(L);
      if (v->len >= u->host->nclasses) luaL_error(L, "unknown class of host object");
      sslua_object *object = lua_newuserdatauv(L, sizeof(*object), 0);
      object->key = 0;
      object->class = v->len;
      sethvalue2s(L, L->top.p, u->class_meta[v->len]);
      L->top.p++;
      lua_setmetatable(L, -2);
      object->key = v->as.key; /* from here on its __gc releases it */
      ss_claim(v);
      return v + 1;
    }
    case SS_LIST: {
      if (depth > DEPTH) luaL_error(L, "nested too deeply");
      luaL_checkstack(L, 3, NULL);
      uint32_t n = v->len;
      lua_createtable(L, n < INT32_MAX ? (int)n : 0, 0);
      v++;
      for (uint32_t i = 1; i <= n; i++) {
        v = decode(L, v, depth + 1);
        lua_rawseti(L, -2, i);
      }
      return v;
    }
    case SS_MAP: {
      if (depth > DEPTH) luaL_error(L, "nested too deeply");
      luaL_checkstack(L, 4, NULL);
      uint32_t n = v->len;
      lua_createtable(L, 0, n < INT32_MAX ? (int)n : 0);
      v++;
      for (uint32_t i = 0; i < n; i++) {
        v = decode(L, v, depth + 1);
        v = decode(L, v, depth + 1);
        if (lua_isnil(L, -1) || lua_isnil(L, -2) || (lua_type(L, -2) == LUA_TNUMBER && lua_tonumber(L, -2) != lua_tonumber(L, -2)))
          lua_pop(L, 2);
        else
          lua_rawset(L, -3);
      }
      return v;
    }
    default:
      luaL_error(L, "unknown kind of host value");
      return v + 1;
  }
}

/* [fiber; no; may raise] */
void sslua_decode(lua_State *L, const ss_value *values, uint32_t count) {
  /* A few numbers fit into what a C function has anyway. */
  while (count > 0 && count < SSLUA_SMALL && L->top.p < L->ci->top.p) {
    if (values->tag == SS_INT) {
      setivalue(s2v(L->top.p), values->as.integer);
    } else if (values->tag == SS_FLOAT) {
      setfltvalue(s2v(L->top.p), values->as.number);
    } else {
      break;
    }
    L->top.p++;
    values++;
    count--;
  }
  if (count == 0) return;
  luaL_checkstack(L, (int)(count < 1000000 ? count + 4 : 1000000), "too many values");
  for (uint32_t i = 0; i < count; i++) values = decode(L, values, 0);
}
