/* Values across the border, both ways. */
#ifndef SIDESTACK_LUA_VALUES_H
#define SIDESTACK_LUA_VALUES_H

#include "universe.h"

enum { SSLUA_SMALL = 8 };

/* A run of values being made. Large ones live in a userdata on the Lua stack; see values.c. */
typedef struct sslua_encoded {
  ss_value *values;
  uint32_t entries; /* all entries */
  uint32_t count;   /* top-level values */
  int references;   /* some of them are references */
  ss_value small[SSLUA_SMALL];
} sslua_encoded;

/* A host object as scripts hold it. */
typedef struct sslua_object {
  uint64_t key; /* 0: released */
  uint32_t class;
} sslua_object;

/* Makes the metatable of buffers. [fiber; no; may raise] */
void sslua_values_open(lua_State *L);

/*
 * Encodes stack values first..last. The strings stay valid while the stack is not cut below what this pushed;
 * `by_reference` as in SS_BY_REFERENCE. [fiber; no; may raise]
 */
void sslua_encode(lua_State *L, int first, int last, int by_reference, sslua_encoded *out);

/* Encodes a number or a boolean; 0: it is something else. [fiber; no; no] */
static inline int sslua_number(const TValue *o, ss_value *out) {
  if (ttisinteger(o)) {
    out->tag = SS_INT;
    out->as.integer = ivalue(o);
  } else if (ttisfloat(o)) {
    out->tag = SS_FLOAT;
    out->as.number = fltvalue(o);
  } else if (ttisboolean(o)) {
    out->tag = SS_BOOL;
    out->as.integer = ttistrue(o);
  } else {
    return 0;
  }
  out->len = 0;
  return 1;
}

/* What sslua_encode() makes of values 1..count, if they are a few numbers and booleans; 0: they are not. [fiber; no; no] */
static inline int sslua_encode_numbers(lua_State *L, int count, ss_value out[SSLUA_SMALL]) {
  if (count > SSLUA_SMALL) return 0;
  for (int i = 0; i < count; i++)
    if (!sslua_number(s2v(L->ci->func.p + 1 + i), &out[i])) return 0;
  return 1;
}

/* The call that had the values is over: unclaimed references go. [fiber; no; no] */
void sslua_settle(lua_State *L, sslua_encoded *encoded);

/* Pushes `count` top-level values. [fiber; no; may raise] */
void sslua_decode(lua_State *L, const ss_value *values, uint32_t count);

/* The host object at `index`; NULL: it is none. [fiber; no; no] */
sslua_object *sslua_to_object(lua_State *L, int index);

#endif
