/* The worker's part, played by hand: what a resume, a suspension and a crossing do to the thread's state. */
#ifndef TEST_PLAY_H
#define TEST_PLAY_H

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "signals.h"
#include "thread.h"

/* Ends a case with the number of the line that failed. */
#define CHECK(condition) \
  do {                   \
    if (!(condition)) return __LINE__; \
  } while (0)

/* The ground truth, kept apart from what is tested. */
extern __thread volatile int truth_in_host;

static inline void play_enter(ss_thread *thread) {
  ss_enter_host(thread);
  truth_in_host = 1;
}

static inline void play_leave(ss_thread *thread) {
  truth_in_host = 0;
  ss_leave_host(thread);
}

static inline void play_switch(ss_thread *thread, uint64_t fiber_id) {
  thread->fiber_id = fiber_id;
  ss_signal_switch(thread);
}

static inline void play_resume(ss_thread *thread, uint64_t fiber_id) {
  play_switch(thread, fiber_id);
  thread->epoch = thread->epoch + 1;
  thread->place = SS_ON_FIBER;
  play_leave(thread);
}

static inline void play_suspend(ss_thread *thread) {
  play_enter(thread);
  thread->place = SS_NO_FIBER;
  play_switch(thread, 0);
}

/* A signal with a value to the calling thread; it arrives before this returns. */
static inline int play_send(int signo, int value) {
  union sigval sent;
  memset(&sent, 0, sizeof sent);
  sent.sival_int = value;
  return pthread_sigqueue(pthread_self(), signo, sent);
}

#endif
