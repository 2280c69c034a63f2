/*
 * Memory of a Lua thread that is soon to run. With thousands of them none of it is in the caches any more, and each piece names the
 * next one, so that a turn would wait for them one after the other: it is asked for some turns before (src/worker/ahead.rs).
 */
#include "universe.h"

enum { LINE = 64 };

/* On each side of the innermost call's record: its caller's, which was nearly always made just before or after it. */
enum { FRAMES = LINE };

/* Below the top of the stack: what the innermost calls work on. */
enum { VALUES = 2 * LINE };

static inline void ask_for(const char *memory, size_t size) {
  for (size_t at = 0; at < size; at += LINE) __builtin_prefetch(memory + at, 1);
}

/* [interpreter thread; no; no] */
void sslua_expect(const sslua_saved *saved, int rest) {
  const lua_State *L = saved->current;
  if (L == NULL) return;
  if (!rest) {
    ask_for((const char *)L, sizeof(*L));
    return;
  }
  ask_for((const char *)L->ci - FRAMES, 2 * FRAMES + LINE);
  ask_for((const char *)L->top.p - VALUES, VALUES + LINE);
}
