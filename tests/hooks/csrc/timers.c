/* A guest with a timer of its own that reads and writes: its handler never runs while host code does. */
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "case.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static atomic_ulong runs, violations;

static void handler(int signo, siginfo_t *info, void *context) {
  (void)signo, (void)info, (void)context;
  int error = errno;
  atomic_fetch_add(&runs, 1);
  if (ss_thread_state.in_host || ss_thread_state.place != SS_ON_FIBER) atomic_fetch_add(&violations, 1);
  errno = error;
}

static int handled_fd;
static volatile int64_t handled;

static void reader(int signo) {
  (void)signo;
  unsigned char byte = 9;
  unsigned long before = ticks;
  handled = read(handled_fd, &byte, 1) == 1 && byte == pattern(0) ? (int64_t)(ticks - before) : -1;
}

/* A handler that reads what comes later: it blocks, and no other fiber runs meanwhile. */
int case_handler(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int fds[2];
  CHECK(pipe(fds) == 0);
  handled_fd = fds[0];
  handled = -2;
  struct sigaction action = {.sa_handler = reader, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGRTMIN + 7, &action, NULL) == 0);
  later l = {.what = LATER_WRITE, .fd = fds[1], .size = 1};
  later_start(&l);
  CHECK(raise(SIGRTMIN + 7) == 0);
  CHECK(handled == 0);
  later_join(&l);
  close(fds[0]), close(fds[1]);
  return case_done(result, 0);
}

void timers_counts(unsigned long out[2]) {
  out[0] = atomic_load(&runs);
  out[1] = atomic_load(&violations);
}

/* args: a stream to a peer fiber, whether this one begins, how many rounds. */
int fiber_timers(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(3);
  int fd = (int)args[0].as.integer, begins = (int)args[1].as.integer;
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
  CHECK(sigaction(SIGRTMIN + 6, &action, NULL) == 0);
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 6};
  event.sigev_notify_thread_id = (int)syscall(SYS_gettid);
  timer_t timer;
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  struct itimerspec every = {{0, 100000}, {0, 100000}}; /* 10 kHz */
  timer_settime(timer, 0, &every, NULL);
  int64_t number = 0;
  for (int64_t i = 0; i < args[2].as.integer; i++) {
    if (begins || i) CHECK(write(fd, &number, sizeof number) == sizeof number);
    CHECK(recv(fd, &number, sizeof number, MSG_WAITALL) == sizeof number);
    number++;
  }
  if (!begins) CHECK(write(fd, &number, sizeof number) == sizeof number);
  timer_delete(timer);
  return case_done(result, number);
}
