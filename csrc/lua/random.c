/*
 * math.random and math.randomseed, as the manual of Lua 5.4 has them, over xoshiro256** (Blackman and Vigna, public
 * domain), with the state in the current run: what one fiber seeds or draws is nothing to another. A fiber that did not
 * seed is seeded from the system at its first draw.
 */
#include "random.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

/* [any; no; no] */
static uint64_t rotate(uint64_t x, int n) { return x << n | x >> (64 - n); }

/* [any; no; no] */
static uint64_t next(uint64_t s[4]) {
  uint64_t result = rotate(s[1] * 5, 7) * 9;
  uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

/* [any; no; no] */
static void seed(uint64_t s[4], uint64_t a, uint64_t b) {
  s[0] = a;
  s[1] = 0xff; /* never all zero, which is "not seeded" */
  s[2] = b;
  s[3] = 0;
  for (int i = 0; i < 16; i++) next(s);
}

/* [fiber; no; no] */
static void seed_from_system(uint64_t s[4], uint64_t used[2]) {
  if (getrandom(used, 2 * sizeof(*used), GRND_NONBLOCK) != 2 * sizeof(*used)) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    used[0] = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    used[1] = (uintptr_t)s;
  }
  seed(s, used[0], used[1]);
}

/* [fiber; no; no] */
static uint64_t *state(lua_State *L) {
  uint64_t *s = sslua_of(L)->run->random, used[2];
  if ((s[0] | s[1] | s[2] | s[3]) == 0) seed_from_system(s, used);
  return s;
}

/* A uniform number in 0..limit: draws under the smallest mask that covers it until one fits. [fiber; no; no] */
static uint64_t below(uint64_t s[4], uint64_t drawn, uint64_t limit) {
  uint64_t mask = limit;
  if ((limit & (limit + 1)) == 0) return drawn & limit;
  for (int shift = 1; shift < 64; shift *= 2) mask |= mask >> shift;
  while ((drawn &= mask) > limit) drawn = next(s);
  return drawn;
}

/* [fiber; no; may raise] */
static int math_random(lua_State *L) {
  lua_Integer low = 1, high;
  uint64_t *s = state(L);
  uint64_t drawn = next(s);
  switch (lua_gettop(L)) {
    case 0:
      lua_pushnumber(L, (lua_Number)(drawn >> 11) * 0x1.0p-53);
      return 1;
    case 1:
      high = luaL_checkinteger(L, 1);
      if (high == 0) {
        lua_pushinteger(L, (lua_Integer)drawn);
        return 1;
      }
      break;
    case 2:
      low = luaL_checkinteger(L, 1);
      high = luaL_checkinteger(L, 2);
      break;
    default:
      return luaL_error(L, "wrong number of arguments");
  }
  luaL_argcheck(L, low <= high, lua_gettop(L), "interval is empty");
  lua_pushinteger(L, (lua_Integer)(below(s, drawn, (uint64_t)high - (uint64_t)low) + (uint64_t)low));
  return 1;
}

/* [fiber; no; may raise] */
static int math_randomseed(lua_State *L) {
  uint64_t *s = sslua_of(L)->run->random, used[2];
  if (lua_isnone(L, 1)) {
    seed_from_system(s, used);
  } else {
    int exact;
    used[0] = (uint64_t)lua_tointegerx(L, 1, &exact);
    if (!exact) { /* a float that is no integer: its bits */
      lua_Number number = luaL_checknumber(L, 1);
      memcpy(&used[0], &number, sizeof(number));
    }
    used[1] = (uint64_t)luaL_optinteger(L, 2, 0);
    seed(s, used[0], used[1]);
  }
  lua_pushinteger(L, (lua_Integer)used[0]);
  lua_pushinteger(L, (lua_Integer)used[1]);
  return 2;
}

/* [fiber; no; may raise] */
void sslua_random_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"random", math_random}, {"randomseed", math_randomseed}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
