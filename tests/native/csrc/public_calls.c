/* Calls, values, errors, stacks and cancels by the public API. */
#include "public.h"

#include <setjmp.h>
#include <signal.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

/* Its arguments back. */
FUNCTION(public_echo) {
  (void)data;
  return sidestack_results_set(results, args, nargs);
}

/* (name, arguments…): a host function by name, its results. */
FUNCTION(public_call) {
  (void)data;
  char name[64];
  return sidestack_call_name(name_of(&args[0], name, sizeof name), (sidestack_value *)args + 1, nargs - 1, results);
}

/* (name, argument): as above; the failure as a result: status, code, message. */
FUNCTION(public_failure) {
  (void)data;
  char name[64];
  sidestack_results none;
  sidestack_results_init(&none);
  int status =
      sidestack_call_name(name_of(&args[0], name, sizeof name), (sidestack_value *)args + 1, nargs - 1, &none);
  sidestack_results_free(&none);
  sidestack_value run[] = {sidestack_int(status), sidestack_string(sidestack_error_code()),
                           sidestack_string(sidestack_error_message())};
  return sidestack_results_set(results, run, 3);
}

/* A list and a map of its own making. */
FUNCTION(public_compound) {
  (void)data, (void)args, (void)nargs;
  sidestack_value run[] = {
      sidestack_list(2),        sidestack_int(1),        sidestack_string("two"),
      sidestack_map(1),         sidestack_string("key"), sidestack_list(1),
      sidestack_bytes("\0", 1),
  };
  if (sidestack_next(&run[0]) != &run[3] || sidestack_next(&run[3]) != &run[7])
    return sidestack_fail("test", "sidestack_next");
  return sidestack_results_set(results, run, 2);
}

/* Fails: (code, message), or says nothing. */
FUNCTION(public_fail) {
  (void)data, (void)results;
  char code[64], message[64];
  if (nargs == 0) return SIDESTACK_ERROR;
  return sidestack_fail(name_of(&args[0], code, sizeof code), name_of(&args[1], message, sizeof message));
}

/* Whether this frame is within the published stack. */
FUNCTION(public_stack) {
  (void)data, (void)args, (void)nargs;
  uintptr_t base, limit, here = (uintptr_t)__builtin_frame_address(0);
  if (sidestack_stack(&base, &limit)) return SIDESTACK_ERROR;
  return sidestack_return(results, sidestack_bool(limit < here && here < base && sidestack_fiber() != 0));
}

/* ---- cancels ---- */

/* Does not give up: each wait is refused, what is ready works, also long after the grace. */
FUNCTION(public_stubborn) {
  (void)data, (void)args, (void)nargs;
  for (int i = 1; i <= 3; i++) {
    if (sidestack_sleep(60) != SIDESTACK_CANCELLED) return sidestack_fail("test", "the sleep was not cancelled");
    usleep(5000); /* longer than the grace */
    if (sidestack_poll() != SIDESTACK_CANCELLED) return sidestack_fail("test", "the poll was not");
    if (sidestack_yield() != SIDESTACK_CANCELLED) return sidestack_fail("test", "the yield was not");
    call_int("t.block", 60, NULL);
    if (call_int("t.note", i, NULL) != SIDESTACK_OK) return sidestack_fail("test", "no note");
  }
  return sidestack_return(results, sidestack_int(3));
}

/* A loop that polls, for ever; notes what it was told. */
FUNCTION(public_spin) {
  (void)data, (void)args, (void)nargs, (void)results;
  volatile uint64_t rounds = 0;
  int status;
  call_int("t.note", -1, NULL);
  while ((status = sidestack_poll()) == SIDESTACK_OK) rounds++;
  call_int("t.note", strcmp(sidestack_error_code(), "deadline") == 0 ? 100 : 200, NULL);
  return status;
}

/* A loop that gives way (n) times. */
FUNCTION(public_yields) {
  (void)data, (void)nargs;
  for (int64_t i = 0; i < args[0].as.integer; i++)
    if (sidestack_yield()) return SIDESTACK_ERROR;
  return sidestack_return(results, args[0]);
}

/* A loop that asks nobody, for (n) milliseconds. */
FUNCTION(public_busy) {
  (void)data, (void)nargs;
  struct timespec begun, now;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  do
    clock_gettime(CLOCK_MONOTONIC, &now);
  while ((now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 < args[0].as.integer);
  return sidestack_return(results, args[0]);
}

static FUNCTION(sleeps) {
  (void)args, (void)nargs, (void)results;
  return *(int *)data = sidestack_sleep(60);
}

/*
 * A callback that is given 20 ms and sleeps for a minute; then the fiber goes on. Its status, the call's, the error's
 * code, a later sleep's.
 */
FUNCTION(public_timeout) {
  (void)data, (void)args, (void)nargs;
  int inner = -1;
  sidestack_value run[2] = {sidestack_float(0.02), sidestack_nil()};
  if (sidestack_callback(sleeps, &inner, NULL, &run[1])) return SIDESTACK_ERROR;
  int outer = sidestack_call_name("sidestack.core.timeout", run, 2, results);
  char code[64];
  snprintf(code, sizeof code, "%s", sidestack_error_code());
  sidestack_callback_release(run[1]);
  int later = sidestack_poll() ? -1 : sidestack_sleep(0.001);
  sidestack_value told[] = {sidestack_int(inner), sidestack_int(outer), sidestack_string(code), sidestack_int(later)};
  return sidestack_results_set(results, told, 4);
}

/* ---- callbacks ---- */

static FUNCTION(twice) {
  (void)nargs;
  ++*(int64_t *)data;
  return sidestack_return(results, sidestack_int(args[0].as.integer * 2));
}

/* (name, n): a host function that gets a callback; its result, and how often it was called. */
FUNCTION(public_callback) {
  (void)data, (void)nargs;
  char name[64];
  int64_t calls = 0;
  sidestack_value run[2] = {sidestack_nil(), args[1]};
  if (sidestack_callback(twice, &calls, NULL, &run[0])) return SIDESTACK_ERROR;
  int status = sidestack_call_name(name_of(&args[0], name, sizeof name), run, 2, results);
  sidestack_callback_release(run[0]);
  if (status) return status;
  sidestack_value both[] = {results->values[0], sidestack_int(calls)};
  return sidestack_results_set(results, both, 2);
}

static int64_t kept_calls;
static int64_t kept_destroyed;
static void destroyed(void *data) { ++*(int64_t *)data; }
static FUNCTION(kept) {
  (void)args, (void)nargs, (void)data;
  int64_t calls = __atomic_add_fetch(&kept_calls, 1, __ATOMIC_RELAXED);
  if (sidestack_sleep(0.001)) return SIDESTACK_ERROR;
  return sidestack_return(results, sidestack_int(calls));
}

/* (release): gives a callback to t.keep; then releases it, or not. Its own call of it: the status. */
FUNCTION(public_keep) {
  (void)data, (void)nargs;
  sidestack_value callback;
  sidestack_results none;
  sidestack_results_init(&none);
  if (sidestack_callback(kept, &kept_destroyed, destroyed, &callback)) return SIDESTACK_ERROR;
  int status = sidestack_call_name("t.keep", &callback, 1, NULL);
  if (status) return status;
  if (sidestack_int_or(&args[0], 0)) status = sidestack_callback_release(callback);
  if (status) return status;
  status = sidestack_callback_call(callback, NULL, 0, &none);
  sidestack_results_free(&none);
  return sidestack_return(results, sidestack_int(status));
}

FUNCTION(public_kept_destroyed) {
  (void)data, (void)args, (void)nargs;
  return sidestack_return(results, sidestack_int(kept_destroyed));
}

/* Callbacks within host calls within callbacks, `n` deep; 4 KiB of stack each time, intact. */
static FUNCTION(level) {
  (void)data, (void)nargs;
  int64_t n = args[0].as.integer;
  volatile unsigned char room[1024];
  for (size_t i = 0; i < sizeof room; i++) room[i] = (unsigned char)(n + (int64_t)i);
  sidestack_value run[2] = {sidestack_nil(), sidestack_int(n)};
  if (sidestack_callback(level, NULL, NULL, &run[0])) return SIDESTACK_ERROR;
  int status = sidestack_call_name("t.nest", run, 2, results);
  sidestack_callback_release(run[0]);
  for (size_t i = 0; i < sizeof room; i++)
    if (room[i] != (unsigned char)(n + (int64_t)i)) return sidestack_fail("test", "the stack was changed");
  if (status == SIDESTACK_ERROR && strcmp(sidestack_error_code(), "panic") == 0) {
    char message[256];
    snprintf(message, sizeof message, "%s <%d", sidestack_error_message(), (int)n);
    /* Only the end is kept, or it would grow with each level. */
    size_t len = strlen(message);
    return sidestack_fail("panic", len > 60 ? message + len - 60 : message);
  }
  return status;
}

FUNCTION(public_nest) { return level(data, args, nargs, results); }

/* ---- jumps ---- */

static __thread jmp_buf before;

static FUNCTION(jump) {
  (void)data, (void)args, (void)nargs, (void)results;
  longjmp(before, 1);
}

/* Leaves a callback, and the host call that made it, by longjmp; then waits at t.block and goes on. */
FUNCTION(public_jump) {
  (void)data, (void)args, (void)nargs;
  static __thread sidestack_value run[2];
  if (setjmp(before) == 0) {
    if (sidestack_callback(jump, NULL, NULL, &run[0])) return SIDESTACK_ERROR;
    run[1] = sidestack_int(1);
    sidestack_call_name("t.apply", run, 2, results);
    return sidestack_fail("test", "it did not jump");
  }
  sidestack_callback_release(run[0]);
  run[0] = sidestack_int(5);
  return sidestack_call_name("t.block", run, 1, results);
}

/* ---- signals ---- */

static __thread int told;
static __thread char told_code[64];
static void on_signal(int signo) {
  (void)signo;
  told = call_int("t.ready", 1, NULL);
  snprintf(told_code, sizeof told_code, "%s", sidestack_error_code());
}

/* What a signal handler is told that calls the host; the host works before and after. */
FUNCTION(public_signal) {
  (void)data, (void)args, (void)nargs;
  if (signal(SIGUSR2, on_signal) == SIG_ERR) return sidestack_fail("test", "signal");
  if (call_int("t.ready", 1, NULL)) return SIDESTACK_ERROR;
  told = 0;
  pthread_kill(pthread_self(), SIGUSR2);
  if (call_int("t.ready", 1, NULL)) return SIDESTACK_ERROR;
  sidestack_value run[] = {sidestack_int(told), sidestack_string(told_code)};
  return sidestack_results_set(results, run, 2);
}

/* ---- C code that host code calls, on any guest's fibers ---- */

static void count(void *pointer) { ++*(int64_t *)pointer; }

/* Statuses: a call of what is ready, of what waits, a turn, a callback, a handle, which is left to `*destroyed`. The codes of those
   that failed are joined. */
void public_in_host(int *statuses, char *codes, size_t size, int64_t *destroyed) {
  static const sidestack_kind counted = {"counted", count};
  sidestack_value callback;
  sidestack_handle handle;
  statuses[0] = call_int("t.ready", 1, NULL);
  statuses[1] = call_int("t.block", 1, NULL);
  int len = snprintf(codes, size, "%s", sidestack_error_code());
  statuses[2] = sidestack_yield();
  len += snprintf(codes + len, size - (size_t)len, " %s", sidestack_error_code());
  statuses[3] = sidestack_callback(public_echo, NULL, NULL, &callback);
  if (statuses[3]) snprintf(codes + len, size - (size_t)len, " %s", sidestack_error_code());
  statuses[4] = sidestack_handle_make(destroyed, &counted, &handle);
}

/* ---- functions of scalars, which know nothing of all this ---- */

int64_t scalar_add(int64_t a, int32_t b, uint8_t c) { return a + b + c; }
double scalar_mean(double a, float b) { return (a + (double)b) / 2; }
_Bool scalar_not(_Bool a) { return !a; }
void scalar_nothing(void) {}
uint64_t scalar_large(void) { return UINT64_MAX; }
int64_t scalar_eight(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g, double h) {
  return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + (int64_t)(8 * h);
}
const char *scalar_greet(const char *name) {
  static __thread char text[64];
  if (!name) return NULL;
  snprintf(text, sizeof text, "hi %s", name);
  return text;
}
