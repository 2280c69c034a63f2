/*
 * The way into the host and back, for the whole thread state: while a fiber runs, the in-host flag (deferred signals) and the
 * place change here and nowhere else, but for the two upcalls that suspend (ss_cross_suspend, ss_cross_yield). Guest code on a
 * fiber moves to the thread's own stack, where everything of the host's runs. Host code that calls C that calls the host is
 * there already: moving again would write over live host frames.
 */
#ifndef SIDESTACK_WAY_IN_H
#define SIDESTACK_WAY_IN_H

#include <stddef.h>
#include <stdint.h>

#include "signals.h"

/* What a crossing returns beside its own results. */
enum {
  SS_CROSS_SUSPEND = INT32_MIN,   /* give up the thread; the worker leaves the status in the fiber's record */
  SS_CROSS_AGAIN = INT32_MIN + 1, /* others had their turn: look again */
};

/* The host's side of a crossing, in src/crossing. [on the thread's own stack, the flag set; no; no] */
typedef int64_t ss_crossing(ss_thread *, uintptr_t, uintptr_t, uintptr_t, uintptr_t);

/* Calls a crossing on the stack whose free end is the first word of `thread`. In src/sys. [fiber; no; no] */
int64_t ss_move_to(ss_thread *thread, uintptr_t, uintptr_t, uintptr_t, uintptr_t, ss_crossing *);

/*
 * Gives up the thread until the worker has a status, and leaves the host. In src/crossing. It is the last thing that its
 * caller does, so that the caller's frame is gone meanwhile: a CPU predicts each return after a switch wrong.
 * `frame` and `returns_to` are what the caller's frame would tell whoever walks the stack.
 * [fiber, its own stacks, the flag set; suspends; as a guest's handler may]
 */
int64_t ss_cross_suspend(ss_thread *thread, uintptr_t frame, uintptr_t returns_to);

/* The two words of the frame of the function that they are used in. */
#define SS_CALLERS_FRAME (*(uintptr_t *)__builtin_frame_address(0))
#define SS_RETURNS_TO ((uintptr_t)__builtin_return_address(0))

/* [interpreter thread, not on a fiber's stack; no; no] */
static __attribute__((noinline, unused)) int64_t ss_cross_in_place(ss_thread *thread, uintptr_t a, uintptr_t b,
                                                                   uintptr_t c, uintptr_t d, ss_crossing *body) {
  int outer = thread->nested;
  thread->nested = 1;
  int64_t status = body(thread, a, b, c, d);
  thread->nested = outer;
  return status;
}

/* Both that a crossing changes, in one store: it costs about a cycle for each that it makes. [interpreter thread; no; no] */
static inline void ss_set_side(ss_thread *thread, int in_host, int place) {
  typedef volatile uint64_t __attribute__((may_alias)) both;
  _Static_assert(offsetof(ss_thread, place) == offsetof(ss_thread, in_host) + 4 && offsetof(ss_thread, in_host) % 8 == 0,
                 "neighbours in one word");
  SS_BARRIER();
  *(both *)&thread->in_host = (uint64_t)place << 32 | (uint64_t)in_host;
  SS_BARRIER();
}

/* [interpreter thread; may suspend; no] */
static inline int64_t ss_cross(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, ss_crossing *body) {
  ss_thread *thread = &ss_thread_state;
  __asm__("" : "+r"(thread)); /* or the compiler keeps its offset in the thread's storage too, and saves a register more */
  if (__builtin_expect(thread->place != SS_ON_FIBER, 0)) return ss_cross_in_place(thread, a, b, c, d, body);
  ss_set_side(thread, 1, SS_ON_THREAD);
  thread->frame = (uintptr_t)__builtin_frame_address(0);
  int64_t status = ss_move_to(thread, a, b, c, d, body);
  if (status == SS_CROSS_SUSPEND) {
    thread->place = SS_ON_FIBER;
    return ss_cross_suspend(thread, SS_CALLERS_FRAME, SS_RETURNS_TO);
  }
  ss_set_side(thread, 0, SS_ON_FIBER);
  if (__builtin_expect(thread->pending != 0, 0)) ss_signal_drain(thread);
  return status;
}

#endif
