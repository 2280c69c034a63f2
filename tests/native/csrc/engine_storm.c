/*
 * A guest with a timer signal of its own, on real fibers: each fiber makes a timer whose signals carry the fiber's number,
 * crosses into the host again and again (ready calls and waiting ones), and its handler checks what it sees.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "crossing.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* Set by the host function while it runs; told by the test. */
_Thread_local volatile int engine_storm_in_host;
/* The fiber whose guest code runs now; kept by the guest around each host call. */
static _Thread_local volatile int current;

static atomic_ulong runs, violations, strangers;

static void handler(int signo, siginfo_t *info, void *context) {
  (void)signo;
  (void)context;
  atomic_fetch_add(&runs, 1);
  if (engine_storm_in_host) atomic_fetch_add(&violations, 1);
  if (info->si_value.sival_int != current) atomic_fetch_add(&strangers, 1);
}

/* [host code on the interpreter thread; no; no] */
void engine_storm_host(int inside) { engine_storm_in_host = inside; }

void engine_storm_counts(unsigned long out[3]) {
  out[0] = atomic_load(&runs);
  out[1] = atomic_load(&violations);
  out[2] = atomic_load(&strangers);
}

static int fail(ss_value *result, const char *message) {
  result->tag = SS_STRING;
  result->len = (uint32_t)strlen(message);
  result->as.bytes = message;
  return SS_ERROR;
}

/* args: the fiber's number, how many crossings. [fiber; may suspend; no] */
int engine_storm(ss_value *args, uint32_t nargs, ss_value *result) {
  if (nargs != 2) return fail(result, "two arguments");
  int number = (int)args[0].as.integer;
  int64_t crossings = args[1].as.integer;
  int64_t ready = ss_function_id("storm.ready"), waiting = ss_function_id("storm.waiting");
  if (ready < 0 || waiting < 0 || ss_function_id("storm.nothing") >= 0) return fail(result, "function ids");
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  current = number;
  if (sigaction(SIGRTMIN + 5, &action, NULL) != 0) return fail(result, "sigaction");
  struct sigevent event;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGRTMIN + 5;
  event.sigev_value.sival_int = number;
  event.sigev_notify_thread_id = (int)syscall(SYS_gettid);
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return fail(result, "timer_create");
  struct itimerspec every = {{0, 50000}, {0, 50000}}; /* 20 kHz */
  int status = SS_OK;
  for (int64_t i = 0; i < crossings && status == SS_OK; i++) {
    ss_value argument = {SS_INT, 0, {.integer = i}};
    ss_call call = {0};
    /* The timer belongs to this fiber: it runs in this fiber's guest code and in the ready host calls, and is stopped over a wait. */
    if (i % 64 == 0) {
      struct itimerspec stop = {{0, 0}, {0, 0}};
      timer_settime(timer, 0, &stop, NULL);
      status = ss_host_call((uint32_t)waiting, &argument, 1, &call);
      current = number;
      timer_settime(timer, 0, &every, NULL);
    } else {
      status = ss_host_call((uint32_t)ready, &argument, 1, &call);
    }
    if (status == SS_OK && (call.count != 1 || call.values[0].as.integer != i)) return fail(result, "a wrong value came back");
    ss_host_end(&call);
  }
  timer_delete(timer);
  if (status != SS_OK) return fail(result, "a host call failed");
  result->tag = SS_INT;
  result->as.integer = number;
  return SS_OK;
}
