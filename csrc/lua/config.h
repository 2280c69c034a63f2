/*
 * Lua's compile-time configuration for fibers. Included (by -include) before every file of Lua's own sources, which stay
 * unmodified: each macro here is one that the sources guard with #if !defined, except memcpy, memchr (in lstrlib.c)
 * and memcmp (in loslib.c).
 *
 * 1. The C stack. Stock Lua counts nested C calls and stops at 200, whatever the stack; a fiber's is small, and frames
 *    differ by an order of magnitude between builds. Here the limit is an expression over the stack that is really left:
 *
 *        stack_base  ┌──────────────────────────────┐
 *                    │ free use: limit is 10,000    │
 *        + SOFT      ├──────────────────────────────┤ the first check here raises "C stack overflow"; until the
 *                    │ soft zone: handlers run      │ stack has been above it again, the rest of the zone is open
 *        + HARD      ├──────────────────────────────┤ every check here raises "error in error handling", with no
 *                    │ hard zone: C frames only     │ handler: what is left is for frames between two checks
 *        stack_limit └──────────────────────────────┘
 *
 *    LUAI_MAXCCALLS is evaluated at an entry (`getCcalls(L) >= LUAI_MAXCCALLS`) and then in luaE_checkcstack
 *    (`== LUAI_MAXCCALLS`: raise the overflow). Answering with the present count makes both true. Only the second one
 *    notes that the error has been raised, and knows itself by the length of its __func__.
 *
 * 2. The lua_State that runs now, for the signal handler that interrupts it: kept by LUAI_TRY, which every
 *    protected call and every resume passes, and put back on its way out, by return or by longjmp.
 *
 * 3. Polls. Hooks never fire inside C functions, so each entry to the API (lua_lock) and the loops of lstrlib.c and loslib.c look at
 *    ss_thread_state.interrupt: one load and one branch that is never taken. So does the parser, by LUAI_MAXCCALLS.
 */
#ifndef SIDESTACK_LUA_CONFIG_H
#define SIDESTACK_LUA_CONFIG_H

#include "lprefix.h" /* Lua's own choice of feature macros, before any system header */

#include <setjmp.h>
#include <string.h>

#include "../thread.h"

struct lua_State;

/* What this guest keeps for its OS thread. */
typedef struct sslua_thread {
  struct lua_State *volatile current; /* runs now, inside a protected call; NULL: none, or not to be interrupted */
  uintptr_t overflow; /* stack_limit of the fiber in whose soft zone the overflow has been raised; 0: none */
} sslua_thread;

extern __thread sslua_thread sslua_thread_state __attribute__((tls_model("initial-exec")));

/* lua_lock found an interrupt. [fiber; no; may raise] */
void sslua_look_up(struct lua_State *L);
/* The same inside a loop of lstrlib.c or loslib.c. [fiber; no; may raise] */
void sslua_look_up_current(void);
/* Makes L call the hook at its next instruction. [interpreter thread or its signal handler; no; no] */
void sslua_arm(struct lua_State *L);

/* ---- 1: the C stack ---- */

#define SSLUA_MAXCCALLS 10000 /* nCcalls has 16 bits, and handlers may go to 11/10 of it */
#define SSLUA_HARD_ZONE (24 * 1024)
#define SSLUA_SOFT_ZONE (SSLUA_HARD_ZONE + 12 * 1024)

/* [fiber; no; no] */
static inline __attribute__((unused)) unsigned sslua_maxccalls(unsigned count, int raising) {
  uintptr_t limit = ss_thread_state.stack_limit;
  uintptr_t left = (uintptr_t)__builtin_frame_address(0) - limit;
  if (__builtin_expect(left >= SSLUA_SOFT_ZONE, 1)) {
    if (__builtin_expect(sslua_thread_state.overflow != 0, 0) && sslua_thread_state.overflow == limit)
      sslua_thread_state.overflow = 0;
    return SSLUA_MAXCCALLS;
  }
  if (left < SSLUA_HARD_ZONE) return 2; /* count >= 2 / 10 * 11: luaD_errerr */
  if (sslua_thread_state.overflow == limit) return SSLUA_MAXCCALLS;
  if (raising) sslua_thread_state.overflow = limit;
  return count;
}

#define LUAI_MAXCCALLS \
  (SSLUA_POLL_PARSER(L), \
   sslua_maxccalls((unsigned)((L)->nCcalls & 0xffff), sizeof(__func__) == sizeof("luaE_checkcstack")))

/* luaE_incCstack is the parser's, once a statement and an expression; it may raise there as for an overflow. */
#define SSLUA_POLL_PARSER(L) \
  ((void)(sizeof(__func__) == sizeof("luaE_incCstack") && __builtin_expect(ss_thread_state.interrupt, 0) && \
          (sslua_look_up(L), 0)))

/* Levels of match() in lstrlib.c: one takes at most 512 bytes of stack, at -O0 too; 200 is the stock limit. */
#define SSLUA_MATCH_FRAME 512
#define SSLUA_MATCH_RESERVE (14 * 1024)

/* [fiber; no; no] */
static inline __attribute__((unused)) int sslua_matchdepth(void) {
  uintptr_t left = (uintptr_t)__builtin_frame_address(0) - ss_thread_state.stack_limit;
  if (left < SSLUA_MATCH_RESERVE) return 0;
  left = (left - SSLUA_MATCH_RESERVE) / SSLUA_MATCH_FRAME;
  return left > 200 ? 200 : (int)left;
}

#define MAXCCALLS sslua_matchdepth()

/* ---- 2: the current lua_State ---- */

#define luai_jmpbuf jmp_buf
#define LUAI_THROW(L, c) _longjmp((c)->b, 1)

/* A tick may have armed one state just before another one became current. [fiber; no; no] */
static inline __attribute__((unused)) void sslua_set_current(struct lua_State *L) {
  sslua_thread_state.current = L;
  if (__builtin_expect(ss_thread_state.interrupt, 0) && L != NULL) sslua_arm(L);
}

/* `outer` is not written after _setjmp, so it is valid after the longjmp as well. */
#define LUAI_TRY(L, c, a) \
  { \
    struct lua_State *outer_ = sslua_thread_state.current; \
    sslua_set_current(L); \
    if (_setjmp((c)->b) == 0) { \
      a \
    } \
    sslua_set_current(outer_); \
  }

/* ---- 3: polls ---- */

#define lua_lock(L) ((void)(__builtin_expect(ss_thread_state.interrupt, 0) && (sslua_look_up(L), 0)))
#define lua_unlock(L) ((void)0)
/* Stock: unlock and lock, in the middle of VM instructions, where L->top is not set and nothing may be raised. */
#define luai_threadyield(L) ((void)0)

/*
 * lstrlib.c defines `lstrlib_c` (as nothing) and no other file does, so pasting it on a name gives one name there and
 * another one elsewhere.
 */
#define SSLUA_POLL_ ((void)(__builtin_expect(ss_thread_state.interrupt, 0) && (sslua_look_up_current(), 0)))
#define SSLUA_POLL_lstrlib_c ((void)0)
#define SSLUA_POLL_PASTE(x) SSLUA_POLL_##x
#define SSLUA_POLL_IN(x) SSLUA_POLL_PASTE(x)
#define SSLUA_POLL SSLUA_POLL_IN(lstrlib_c)

/*
 * The buffers of lauxlib.c ask the allocator themselves, and take its first NULL for the last word; the rest of Lua
 * collects garbage and asks again. So do they, with this. (By name as above: lauxlib.c defines `lauxlib_c`.)
 */
typedef void *(*sslua_allocator)(void *, void *, size_t, size_t);
/* lua_getallocf for lauxlib.c. [fiber; no; no] */
sslua_allocator sslua_getallocf_(struct lua_State *L, void **ud);
#define sslua_getallocf_lauxlib_c lua_getallocf
#define SSLUA_GETALLOCF_PASTE(x) sslua_getallocf_##x
#define SSLUA_GETALLOCF_IN(x) SSLUA_GETALLOCF_PASTE(x)
#define lua_getallocf SSLUA_GETALLOCF_IN(lauxlib_c)

#define SSLUA_POLL_loslib_c ((void)0)

/* lmem.c collects for every request that is refused; memory.c says which deserve it. */
#define sslua_fullgc_lmem_c luaC_fullgc
#define SSLUA_FULLGC_PASTE(x) sslua_fullgc_##x
#define SSLUA_FULLGC_IN(x) SSLUA_FULLGC_PASTE(x)
#define luaC_fullgc SSLUA_FULLGC_IN(lmem_c)

#define luai_likely(x) (SSLUA_POLL, __builtin_expect(((x) != 0), 1))   /* in luaL_argcheck(): formats of pack and unpack */
#define luai_unlikely(x) (SSLUA_POLL, __builtin_expect(((x) != 0), 0)) /* in match() and classend() */
#define memcpy(d, s, n) (SSLUA_POLL, memcpy(d, s, n))                  /* in str_rep() */
#define memchr(s, c, n) (SSLUA_POLL, memchr(s, c, n))                  /* in lmemfind() */
#define memcmp(a, b, n) (SSLUA_POLL_IN(loslib_c), memcmp(a, b, n))     /* in os_date() */

#endif
