/*
 * The tick of an interpreter thread.
 *
 * A per-thread POSIX timer sends the tick signal to its own thread, so that the handler reads the thread's state
 * without any race but with the code that it interrupts:
 *
 *   no fiber current    the second such tick in a row disarms the timer; the next ss_tick_arm arms it again
 *   another epoch       than the last tick saw: there was a resume in between, the tick is stale and only notes it
 *   the same epoch      deadline passed: SS_INTERRUPT_DEADLINE; others_ready: SS_INTERRUPT_SLICE. A slice hence lasts one
 *                       to two periods
 *
 * Whenever a bit is set then, guest code is made to look up, again on each tick, because what runs now may be
 * something else than what was told to look up before (a coroutine, a finalizer). If host code was interrupted,
 * nothing of the guest may be touched: `pending` is raised instead, and ss_leave_host's slow path makes the guest look
 * up on the return to C.
 *
 * Another thread may send the same signal to ask what the fiber is at (snapshot.h): that is no tick.
 *
 * The handler is installed with all signals blocked, as the one in signals.c is: neither interrupts the other.
 * ss_tick_arm zeroes `idle` before it looks at `armed`, so that a tick in between cannot disarm after it was seen
 * armed.
 */
#include "tick.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "registration.h"
#include "signals.h"
#include "signals_state.h"
#include "snapshot.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { IDLE_TICKS = 2 };
static const uint64_t SECOND = 1000000000;

static pthread_mutex_t setting = PTHREAD_MUTEX_INITIALIZER;
static int tick_signal; /* 0: the default */
static int installed;

int ss_tick_signal(void) {
  int signo = __atomic_load_n(&tick_signal, __ATOMIC_RELAXED);
  return signo ? signo : SIGRTMIN + 3;
}

int ss_tick_set_signal(int signo) {
  if (signo < SIGRTMIN || signo > SIGRTMAX) return EINVAL;
  pthread_mutex_lock(&setting);
  int failed = installed && signo != ss_tick_signal() ? EBUSY : 0;
  if (!failed) __atomic_store_n(&tick_signal, signo, __ATOMIC_RELAXED);
  pthread_mutex_unlock(&setting);
  return failed;
}

/* Sets the timer's period. 0 or an errno. [interpreter thread, also in a handler; no; no] */
static int set_period(ss_thread *thread, ss_signals *signals, uint64_t period_ns) {
  struct itimerspec times;
  times.it_interval.tv_sec = (time_t)(period_ns / SECOND);
  times.it_interval.tv_nsec = (long)(period_ns % SECOND);
  times.it_value = times.it_interval;
  thread->armed = period_ns;
  if (timer_settime(signals->timer, 0, &times, NULL) == 0) return 0;
  thread->armed = 0;
  return errno;
}

/* CLOCK_MONOTONIC in nanoseconds. [any thread, also in a handler; no; no] */
static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* What the tick finds: see the top. [interpreter thread, in the handler; no; no] */
static void look(ss_thread *thread, ss_signals *signals) {
  uint64_t epoch = thread->epoch;
  int stale = epoch != signals->seen_epoch;
  signals->seen_epoch = epoch;
  if (thread->place == SS_NO_FIBER) {
    if (++thread->idle >= IDLE_TICKS) set_period(thread, signals, 0);
    return;
  }
  thread->idle = 0;
  if (!stale) {
    if (thread->deadline != UINT64_MAX && now_ns() >= thread->deadline) thread->interrupt |= SS_INTERRUPT_DEADLINE;
    if (thread->others_ready) thread->interrupt |= SS_INTERRUPT_SLICE;
  }
  if (!thread->interrupt) return;
  if (thread->in_host) {
    signals->look_up = 1;
    thread->deferred = 1;
    signals->changes++;
    ss_signals_recount(thread, signals);
  } else if (thread->guest_interrupt) {
    thread->guest_interrupt();
  }
}

/* [any thread; no; no] */
static void tick(int signo, siginfo_t *info, void *context) {
  (void)signo;
  int saved = errno;
  const ss_thread *thread = &ss_thread_state;
  int asked = thread->attached && info->si_code == SI_QUEUE && ss_snapshot_asked(thread, info->si_value.sival_ptr, context);
  if (thread->attached && !asked) look(&ss_thread_state, &ss_signals_state);
  errno = saved;
}

/* Once in a process. 0 or an errno. [any thread; no; no] */
static int install_handler(void) {
  pthread_mutex_lock(&setting);
  int failed = 0;
  if (!installed) {
    struct sigaction action, former;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = tick;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    const uint64_t all = SS_BLOCKABLE;
    memcpy(&action.sa_mask, &all, sizeof all);
    if (ss_real_sigaction(ss_tick_signal(), NULL, &former))
      failed = errno;
    else if (former.sa_handler != SIG_DFL)
      failed = EBUSY;
    else if (ss_real_sigaction(ss_tick_signal(), &action, NULL))
      failed = errno;
    installed = !failed;
  }
  pthread_mutex_unlock(&setting);
  return failed;
}

int ss_tick_create(void) {
  int failed = install_handler();
  if (failed) return failed;
  struct sigevent event;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = ss_tick_signal();
  event.sigev_notify_thread_id = gettid();
  return timer_create(CLOCK_MONOTONIC, &event, &ss_signals_state.timer) ? errno : 0;
}

void ss_tick_delete(void) { timer_delete(ss_signals_state.timer); }

int ss_tick_arm(uint64_t period_ns) {
  ss_thread *thread = &ss_thread_state;
  if (!thread->attached) return EPERM;
  thread->idle = 0;
  SS_BARRIER();
  return thread->armed == period_ns ? 0 : set_period(thread, &ss_signals_state, period_ns);
}

uint64_t ss_tick_armed(void) { return ss_thread_state.armed; }
