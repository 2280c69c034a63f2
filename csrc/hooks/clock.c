/* sleep, usleep, nanosleep, clock_nanosleep: the interpreter's own timers, never too short. */
#include <errno.h>
#include <limits.h>

#include "hooks.h"

/* Sleeps. 0; SS_WAIT_PASS; -1 with errno, and what is left in `*left`. [fiber; may suspend; no] */
static int sleep_until(int64_t deadline, int64_t *left) {
  int before = errno;
  ss_wait wait = {deadline, 0};
  int outcome = ss_hooks_wait(&wait, NULL, 0);
  if (outcome == SS_WAIT_PASS) return SS_WAIT_PASS;
  if (outcome == SS_WAIT_OVER) {
    errno = before;
    return 0;
  }
  int error = errno;
  *left = deadline - ss_hooks_now();
  if (*left < 0) *left = 0;
  errno = error;
  return -1;
}

static int valid(const struct timespec *time) {
  return time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < SS_SECOND;
}

static int64_t nanoseconds(const struct timespec *time) {
  return time->tv_sec > INT64_MAX / SS_SECOND - 1 ? INT64_MAX : time->tv_sec * SS_SECOND + time->tv_nsec;
}

/* [any thread; guests may suspend; no] */
unsigned sleep(unsigned seconds) {
  int64_t left = 0;
  if (seconds && ss_hooks_guest()) {
    int slept = sleep_until(ss_hooks_deadline(seconds * SS_SECOND), &left);
    if (slept == 0) return 0;
    if (slept == -1) return (unsigned)((left + SS_SECOND - 1) / SS_SECOND);
    return SS_PASS(SS_NEXT(sleep)(seconds));
  }
  return SS_NEXT(sleep)(seconds);
}

/* [any thread; guests may suspend; no] */
int usleep(useconds_t microseconds) {
  int64_t left = 0;
  if (microseconds && ss_hooks_guest()) {
    int slept = sleep_until(ss_hooks_deadline(microseconds * INT64_C(1000)), &left);
    if (slept != SS_WAIT_PASS) return slept;
    return SS_PASS(SS_NEXT(usleep)(microseconds));
  }
  return SS_NEXT(usleep)(microseconds);
}

/* [any thread; guests may suspend; no] */
int nanosleep(const struct timespec *time, struct timespec *rest) {
  int64_t left = 0;
  if (valid(time) && (time->tv_sec || time->tv_nsec) && ss_hooks_guest()) {
    int slept = sleep_until(ss_hooks_deadline(nanoseconds(time)), &left);
    if (slept == -1 && rest) *rest = (struct timespec){left / SS_SECOND, left % SS_SECOND};
    if (slept != SS_WAIT_PASS) return slept;
    return SS_PASS(SS_NEXT(nanosleep)(time, rest));
  }
  return SS_NEXT(nanosleep)(time, rest);
}

/* Clocks that go on while a fiber waits. */
static int is_wall(clockid_t clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME || clock == CLOCK_TAI;
}

/* [any thread; guests may suspend; no] */
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *rest) {
  if (!is_wall(clock) || (flags & ~TIMER_ABSTIME) || !valid(time) || !ss_hooks_guest())
    return SS_NEXT(clock_nanosleep)(clock, flags, time, rest);
  int before = errno, result = 0;
  for (;;) {
    int64_t left = nanoseconds(time);
    if (flags & TIMER_ABSTIME) {
      struct timespec now;
      clock_gettime(clock, &now);
      left -= nanoseconds(&now);
    }
    if (left <= 0) break;
    int slept = sleep_until(ss_hooks_deadline(left), &left);
    if (slept == SS_WAIT_PASS) return SS_PASS(SS_NEXT(clock_nanosleep)(clock, flags, time, rest));
    if (slept == -1) {
      result = errno;
      if (rest && !(flags & TIMER_ABSTIME)) *rest = (struct timespec){left / SS_SECOND, left % SS_SECOND};
      break;
    }
    /* A clock that was set back meanwhile is not there yet. */
    if (!(flags & TIMER_ABSTIME)) break;
  }
  errno = before;
  return result;
}
