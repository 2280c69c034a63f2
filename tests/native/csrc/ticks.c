/* Cases of the tick. Each returns 0, or the line that failed. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "play.h"
#include "tick.h"

static const uint64_t PERIOD = 1000000; /* 1 ms */

static volatile int looked_up, violations;

static void look_up(void) {
  if (truth_in_host) violations++;
  looked_up++;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Runs on for so many periods; `step` is done over and over. */
static void run(ss_thread *thread, int periods, void (*step)(ss_thread *)) {
  uint64_t until = now_ns() + (uint64_t)periods * PERIOD;
  while (now_ns() < until)
    if (step) step(thread);
}

static ss_thread *begin(void) {
  looked_up = violations = 0;
  truth_in_host = 1;
  if (ss_signal_attach()) return NULL;
  ss_thread *thread = ss_current_thread();
  thread->guest_interrupt = look_up;
  ss_tick_arm(PERIOD);
  play_resume(thread, 1);
  return thread;
}

static int end(ss_thread *thread) {
  play_suspend(thread);
  ss_signal_detach();
  return violations ? __LINE__ : 0;
}

static void new_epoch(ss_thread *thread) { thread->epoch = thread->epoch + 1; }

/* Over only when somebody else is ready, and then told again on each tick. */
int case_slice(void) {
  ss_thread *thread = begin();
  CHECK(thread && ss_tick_armed() == PERIOD);
  run(thread, 10, NULL);
  CHECK(thread->interrupt == 0 && looked_up == 0);
  thread->others_ready = 1;
  run(thread, 20, NULL);
  CHECK(thread->interrupt == SS_INTERRUPT_SLICE && looked_up >= 2);
  return end(thread);
}

/* Resumes between the ticks: no slice is ever over. */
int case_stale(void) {
  ss_thread *thread = begin();
  CHECK(thread);
  thread->others_ready = 1;
  thread->deadline = 1;
  /* A thread that the system puts aside between two ticks makes no epochs: it may try again. */
  for (int attempt = 0; attempt < 100; attempt++) {
    thread->interrupt = looked_up = 0;
    run(thread, 20, new_epoch);
    if (thread->interrupt == 0 && looked_up == 0) break;
  }
  CHECK(thread->interrupt == 0 && looked_up == 0);
  run(thread, 20, NULL); /* the control: the same without resumes */
  CHECK(thread->interrupt == (SS_INTERRUPT_SLICE | SS_INTERRUPT_DEADLINE) && looked_up >= 2);
  return end(thread);
}

int case_deadline(void) {
  ss_thread *thread = begin();
  CHECK(thread);
  uint64_t deadline = now_ns() + 20 * PERIOD;
  thread->deadline = deadline;
  while (!thread->interrupt && now_ns() < deadline + 1000 * PERIOD) continue;
  CHECK(now_ns() >= deadline && thread->interrupt == SS_INTERRUPT_DEADLINE && looked_up >= 1);
  return end(thread);
}

/* A cancel is told on each tick until the fiber is gone. */
int case_cancel(void) {
  ss_thread *thread = begin();
  CHECK(thread);
  thread->interrupt = SS_INTERRUPT_CANCEL;
  run(thread, 20, new_epoch);
  CHECK(thread->interrupt == SS_INTERRUPT_CANCEL && looked_up >= 3);
  return end(thread);
}

/* In host code the bits are set, the guest is left alone, and told on the return to C: no tick comes by then. */
int case_in_host(void) {
  ss_thread *thread = begin();
  CHECK(thread);
  play_enter(thread);
  thread->place = SS_ON_THREAD;
  thread->others_ready = 1;
  run(thread, 20, NULL);
  CHECK(thread->interrupt == SS_INTERRUPT_SLICE && looked_up == 0 && thread->pending == 1);
  CHECK(ss_tick_arm(0) == 0 && ss_tick_armed() == 0);
  thread->place = SS_ON_FIBER;
  play_leave(thread);
  CHECK(looked_up == 1 && thread->pending == 0);
  play_enter(thread); /* and it is the fiber's own: another one is not told */
  ss_tick_arm(PERIOD);
  run(thread, 20, NULL);
  ss_tick_arm(0);
  CHECK(thread->pending == 1);
  play_suspend(thread);
  thread->interrupt = 0;
  play_resume(thread, 2);
  CHECK(looked_up == 1);
  return end(thread);
}

/* With no fiber the timer stops by itself; arming starts it again. */
int case_idle(void) {
  ss_thread *thread = begin();
  CHECK(thread);
  run(thread, 20, NULL);
  CHECK(ss_tick_armed() == PERIOD);
  play_suspend(thread);
  run(thread, 20, NULL);
  CHECK(ss_tick_armed() == 0);
  CHECK(ss_tick_arm(PERIOD) == 0 && ss_tick_armed() == PERIOD);
  thread->others_ready = 1;
  play_resume(thread, 1);
  run(thread, 20, NULL);
  CHECK(thread->interrupt == SS_INTERRUPT_SLICE);
  CHECK(ss_tick_set_signal(SIGUSR1) == EINVAL && ss_tick_set_signal(SIGRTMIN + 4) == EBUSY);
  return end(thread);
}
