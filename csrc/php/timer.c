/*
 * Time limits of requests: max_execution_time and set_time_limit(). PHP calls the first two where it would set a timer of the
 * process; the names are weak in its own objects.
 *
 * The time is the wall's, and counts waiting. Code that runs looks up at the tick that finds the time over; a fiber that
 * waits in a host call is woken by its alarm. Either way PHP raises its own fatal error, which shutdown functions outlive.
 * Each fiber of the request gets it once.
 */
#include "timer.h"

#include <time.h>

/* [fiber; no; no] */
static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* [interpreter thread; no; no] */
void ssphp_timer_enter(const ssphp_run *run) {
  ss_thread *thread = &ss_thread_state;
  uint64_t expires = run->timed_out ? UINT64_MAX : run->context->expires;
  thread->alarm = expires;
  if (expires < thread->deadline) thread->deadline = expires;
}

/* [fiber; no; raises where the time is over] */
void ssphp_timer_check(void) {
  ssphp *home = ssphp_here();
  ssphp_run *run = home->run;
  if (run == NULL || run->context == NULL || run->timed_out || now() < run->context->expires) return;
  run->timed_out = 1;
  ssphp_timer_enter(run);
  zend_timeout();
}

/* [fiber; no; no] */
static void set(uint64_t expires) {
  ssphp *home = ss_thread_state.guest;
  zend_atomic_bool_store_ex(&EG(timed_out), false);
  if (home == NULL || home->loaded == NULL) return; /* PHP starts */
  home->loaded->expires = expires;
  if (home->run != NULL && home->run->context == home->loaded) {
    home->run->timed_out = 0;
    ssphp_timer_enter(home->run);
  }
}

/* [fiber; no; no] */
void zend_set_timeout(zend_long seconds, bool reset_signals) {
  (void)reset_signals;
  EG(timeout_seconds) = seconds;
  /* A century is as good as for ever. */
  set(seconds > 0 && seconds < 100L * 365 * 86400 ? now() + (uint64_t)seconds * 1000000000u : UINT64_MAX);
}

/* [fiber; no; no] */
void zend_unset_timeout(void) { set(UINT64_MAX); }
