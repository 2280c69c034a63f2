/*
 * Measuring loops. Each runs as a native guest, on a fiber of a real engine, and tells how many nanoseconds its own loop
 * took, so that nothing but the operation and the loop is in the figure.
 */
#include <time.h>

#include "native.h"
#include "sidestack.h"
#include "signals.h"

enum { WARM_UP = 64 };

typedef uint64_t raw_function(uint64_t);

static int64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static int done(ss_value *result, int64_t begun) {
  *result = (ss_value){.tag = SS_INT, .as.integer = now() - begun};
  return SS_OK;
}

/* Arguments: count, address of a Rust function. [fiber; does not suspend; does not raise] */
int bench_raw(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  raw_function *volatile function = (raw_function *)(uintptr_t)args[1].as.integer;
  uint64_t value = 0;
  int64_t begun = now();
  for (int64_t i = 0; i < args[0].as.integer; i++) value = function(value);
  return done(result, begun);
}

/* The same, with signals deferred by the thread's flag. [as above] */
int bench_flag(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  raw_function *volatile function = (raw_function *)(uintptr_t)args[1].as.integer;
  uint64_t value = 0;
  int64_t begun = now();
  for (int64_t i = 0; i < args[0].as.integer; i++) {
    ss_thread *thread = &ss_thread_state;
    ss_enter_host(thread);
    value = function(value);
    ss_leave_host(thread);
  }
  return done(result, begun);
}

/* The same, with signals deferred by the kernel. [as above] */
int bench_mask(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  raw_function *volatile function = (raw_function *)(uintptr_t)args[1].as.integer;
  uint64_t value = 0;
  int64_t begun = now();
  for (int64_t i = 0; i < args[0].as.integer; i++) {
    uint64_t former = ss_mask_enter();
    value = function(value);
    ss_mask_leave(former);
  }
  return done(result, begun);
}

/* Arguments: count, host function, its arguments. [fiber; may suspend; does not raise] */
int bench_host(ss_value *args, uint32_t nargs, ss_value *result) {
  uint32_t function = (uint32_t)args[1].as.integer;
  int64_t begun = 0;
  for (int64_t i = -WARM_UP; i < args[0].as.integer; i++) {
    if (i == 0) begun = now();
    ss_call call;
    ss_call_begin(&call);
    int status = ss_host_call(function, args + 2, nargs - 2, &call);
    ss_host_end(&call);
    if (status != SS_OK) return SS_KILL;
  }
  return done(result, begun);
}

/* Argument: count. Gives way so often. [fiber; suspends; does not raise] */
int bench_yield(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  int64_t begun = 0;
  for (int64_t i = -WARM_UP; i < args[0].as.integer; i++) {
    if (i == 0) begun = now();
    if (sidestack_yield() != SIDESTACK_OK) return SS_KILL;
  }
  return done(result, begun);
}

/* Argument: count. Sleeps so often for a millisecond. [fiber; suspends; does not raise] */
int bench_naps(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs, (void)result;
  for (int64_t i = 0; i < args[0].as.integer; i++)
    if (sidestack_sleep(0.001) != SIDESTACK_OK) return SS_KILL;
  return SS_OK;
}

/* Calls `suspend(data)` over and over: the inside of the bare switch. [a bare coroutine; suspends; does not return] */
void bench_suspend(void (*suspend)(void *), void *data) {
  for (;;) suspend(data);
}
