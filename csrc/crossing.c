/*
 * The way into the host and back, for the whole thread state: while a fiber runs, the in-host flag (deferred signals) and the
 * place change here and nowhere else. Guest code on a fiber moves to the thread's own stack, where everything of the host's
 * runs. Host code that calls C that calls the host is there already: moving again would write over live host frames.
 */
#include "crossing.h"
#include "signals.h"

/* What a crossing returns beside its own results. */
enum {
  SUSPEND = INT32_MIN,   /* give up the thread; the worker leaves the status in the fiber's record */
  AGAIN = INT32_MIN + 1, /* others had their turn: look again */
};

/* The host's side of a crossing, in src/crossing. [on the thread's own stack, the flag set; no; no] */
typedef int64_t crossing(ss_thread *, uintptr_t, uintptr_t, uintptr_t, uintptr_t);
crossing ss_cross_host_call, ss_cross_host_answer, ss_cross_host_end, ss_cross_poll, ss_cross_object_release,
    ss_cross_function_id, ss_cross_return;

/* Calls a crossing on the stack whose free end is the first word of `thread`. In src/sys. [fiber; no; no] */
int64_t ss_move_to(ss_thread *thread, uintptr_t, uintptr_t, uintptr_t, uintptr_t, crossing *);

/* Gives up the thread until the worker has a status. In src/crossing. [fiber, its own stacks, the flag set; suspends; no] */
int64_t ss_cross_suspend(ss_thread *thread);

/* [interpreter thread, not on a fiber's stack; no; no] */
static __attribute__((noinline)) int64_t cross_in_place(ss_thread *thread, uintptr_t a, uintptr_t b, uintptr_t c,
                                                        uintptr_t d, crossing *body) {
  int outer = thread->nested;
  thread->nested = 1;
  int64_t status = body(thread, a, b, c, d);
  thread->nested = outer;
  return status;
}

/* [interpreter thread; may suspend; no] */
static inline int64_t cross(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, crossing *body) {
  ss_thread *thread = &ss_thread_state;
  if (__builtin_expect(thread->place != SS_ON_FIBER, 0)) return cross_in_place(thread, a, b, c, d, body);
  ss_enter_host(thread);
  thread->place = SS_ON_THREAD;
  int64_t status = ss_move_to(thread, a, b, c, d, body);
  thread->place = SS_ON_FIBER;
  if (status == SUSPEND) status = ss_cross_suspend(thread);
  ss_leave_host(thread);
  return status;
}

int ss_host_call(uint32_t function, ss_value *args, uint32_t nargs, ss_call *call) {
  return (int)cross(function, (uintptr_t)args, nargs, (uintptr_t)call, ss_cross_host_call);
}

int ss_host_answer(ss_call *call, int answer, ss_value *values, uint32_t count) {
  return (int)cross((uintptr_t)call, (uintptr_t)answer, (uintptr_t)values, count, ss_cross_host_answer);
}

void ss_host_end(ss_call *call) {
  if (call->reply) cross((uintptr_t)call, 0, 0, 0, ss_cross_host_end);
}

int ss_poll(ss_call *call, int how) {
  int64_t status;
  do
    status = cross((uintptr_t)call, (uintptr_t)how, 0, 0, ss_cross_poll);
  while (status == AGAIN);
  return (int)status;
}

void ss_object_release(uint64_t key) { cross(key, 0, 0, 0, ss_cross_object_release); }

int64_t ss_function_id(const char *name) { return cross((uintptr_t)name, 0, 0, 0, ss_cross_function_id); }

void ss_return(int status, ss_value *values, uint32_t count) {
  cross((uintptr_t)status, (uintptr_t)values, count, 0, ss_cross_return);
}

/* What a fiber starts with: the worker's `start` block. [fiber; may suspend; does not raise] */
struct ss_start {
  void (*entry)(void *);
  void *run;
};

void ss_fiber_main(void *start) {
  struct ss_start *block = start;
  ss_leave_host(&ss_thread_state);
  block->entry(block->run);
  ss_enter_host(&ss_thread_state);
}
