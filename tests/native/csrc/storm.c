/* A storm: guests' timers at 20 kHz over millions of crossings, with fibers that come and go. Accounts for every signal. */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "play.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { FIBERS = 3, TIMERS = 2, INNER = 40 };

typedef struct storm_result {
  uint64_t crossings;
  uint64_t runs;         /* of the guests' handlers */
  uint64_t second_runs;  /* of the handler that was installed later */
  uint64_t violations;   /* a handler ran while host code did */
  uint64_t wrong_fiber;  /* a signal was delivered while another fiber was current */
  uint64_t wrong_info;   /* siginfo was not the sender's */
  uint64_t dropped;      /* by the end of their fiber */
  uint64_t accounted;    /* handled, dropped or fetched at the end; overruns included */
  uint64_t sent_least;   /* what was sent: the timers' expirations by the clock, and what was queued */
  uint64_t sent_most;
} storm_result;

__thread volatile int truth_in_host;
static __thread storm_result result;
static __thread int timer_ids[TIMERS];
static _Atomic uint64_t next_fiber = 1;

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Handlers interrupt each other here, as anywhere. */
static void add(uint64_t *count, uint64_t more) { __atomic_fetch_add(count, more, __ATOMIC_RELAXED); }

static uint64_t account_timer(const siginfo_t *info) {
  int which = info->si_value.sival_int;
  int good = info->si_code == SI_TIMER && which >= 0 && which < TIMERS && timer_ids[which] == info->si_timerid;
  if (!good) add(&result.wrong_info, 1);
  return 1 + (uint64_t)info->si_overrun;
}

static void on_timer(int signo, siginfo_t *info, void *context) {
  if (truth_in_host) add(&result.violations, 1);
  if (!context || info->si_signo != signo) add(&result.wrong_info, 1);
  add(&result.runs, 1);
  add(&result.accounted, account_timer(info));
}

static void on_timer_later(int signo, siginfo_t *info, void *context) {
  add(&result.second_runs, 1);
  on_timer(signo, info, context);
}

static void on_queued(int signo, siginfo_t *info, void *context) {
  (void)context;
  if (truth_in_host) add(&result.violations, 1);
  if (info->si_code != SI_QUEUE || info->si_signo != signo || info->si_pid != getpid()) add(&result.wrong_info, 1);
  if ((uint64_t)info->si_value.sival_int != ss_current_thread()->fiber_id) add(&result.wrong_fiber, 1);
  add(&result.runs, 1);
  add(&result.accounted, 1);
}

/* The guest's registration, as plain C code makes it. */
static int guest_installs(int signo, void (*handler)(int, siginfo_t *, void *), struct sigaction *former) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  return sigaction(signo, &action, former);
}

static int start_timer(int which, uint64_t period_ns, uint64_t start, timer_t *timer) {
  struct sigevent event;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGRTMIN;
  event.sigev_notify_thread_id = gettid();
  event.sigev_value.sival_int = which;
  if (timer_create(CLOCK_MONOTONIC, &event, timer)) return -1;
  timer_ids[which] = (int)(intptr_t)*timer;
  struct itimerspec times = {{0, (long)period_ns}, {(time_t)(start / 1000000000u), (long)(start % 1000000000u)}};
  return timer_settime(*timer, TIMER_ABSTIME, &times, NULL);
}

/* What is still on its way is fetched; the clock then tells how often each timer had expired when it was. */
static void fetch_rest(uint64_t start, uint64_t period_ns) {
  uint64_t least[TIMERS] = {0}, most[TIMERS] = {0};
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  while (!least[0] || !least[1]) {
    siginfo_t info;
    uint64_t before = now_ns();
    if (sigwaitinfo(&set, &info) < 0) continue;
    result.accounted += account_timer(&info);
    least[info.si_value.sival_int & 1] = (before - start) / period_ns + 1;
    most[info.si_value.sival_int & 1] = (now_ns() - start) / period_ns + 1;
  }
  for (int i = 0; i < TIMERS; i++) {
    result.sent_least += least[i];
    result.sent_most += most[i];
  }
}

/* One thread's storm; not 0: the line that failed. */
int storm_run(uint64_t crossings, uint64_t period_ns, int protect, storm_result *out) {
  CHECK(ss_signal_attach() == 0);
  ss_thread *thread = ss_current_thread();
  memset(&result, 0, sizeof result);
  uint64_t fibers[FIBERS];
  for (int i = 0; i < FIBERS; i++) fibers[i] = next_fiber++;

  truth_in_host = 1;
  play_resume(thread, fibers[0]);
  CHECK(guest_installs(SIGRTMIN, on_timer, NULL) == 0);
  CHECK(guest_installs(SIGRTMIN + 1, on_queued, NULL) == 0);
  uint64_t start = now_ns() + 1000000;
  timer_t timers[TIMERS];
  for (int i = 0; i < TIMERS; i++) CHECK(start_timer(i, period_ns, start, &timers[i]) == 0);
  play_suspend(thread);

  volatile uint64_t work = 0;
  int replaced = 0;
  for (uint64_t turn = 0; result.crossings < crossings; turn++) {
    uint64_t *fiber = &fibers[turn % FIBERS];
    play_resume(thread, *fiber);
    for (int i = 0; i < INNER; i++) {
      for (uint64_t k = 0; k < (turn + (uint64_t)i) % 13; k++) work += k;
      if (protect) ss_enter_host(thread);
      truth_in_host = 1;
      for (uint64_t k = 0; k < (turn ^ (uint64_t)i) % 29; k++) work += k;
      if (protect && i == 7 && turn % 5 == 0 && play_send(SIGRTMIN + 1, (int)*fiber) == 0) {
        result.sent_least++;
        result.sent_most++;
      }
      truth_in_host = 0;
      if (protect) ss_leave_host(thread);
      result.crossings++;
    }
    if (!replaced && result.crossings > crossings / 2) {
      replaced = 1;
      struct sigaction former;
      CHECK(guest_installs(SIGRTMIN, on_timer_later, &former) == 0);
      CHECK(former.sa_sigaction == on_timer || former.sa_sigaction == on_timer_later);
    }
    play_enter(thread);
    if (turn % 7 == 0 && play_send(SIGRTMIN + 1, (int)*fiber) == 0) {
      result.sent_least++;
      result.sent_most++;
    }
    for (uint64_t k = 0; k < turn % 31; k++) work += k;
    play_suspend(thread);
    for (uint64_t k = 0; k < turn % 17; k++) work += k;
    if (turn % 11 == 0) {
      uint64_t dropped = ss_signal_fiber_end(thread, *fiber);
      result.dropped += dropped;
      result.accounted += dropped;
      *fiber = next_fiber++;
    }
  }
  for (int i = 0; i < FIBERS; i++) {
    play_resume(thread, fibers[i]);
    if (i + 1 < FIBERS) play_suspend(thread);
  }
  fetch_rest(start, period_ns);
  for (int i = 0; i < TIMERS; i++) timer_delete(timers[i]);
  play_suspend(thread);
  /* What came to fibers already drained, while the others were. */
  for (int i = 0; i < FIBERS; i++) result.accounted += ss_signal_fiber_end(thread, fibers[i]);
  result.accounted += ss_signal_fiber_end(thread, 0);
  *out = result;
  ss_signal_detach();
  return 0;
}
