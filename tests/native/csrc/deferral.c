/* Single cases of deferral. Each returns 0, or the line that failed. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "play.h"
#include "tick.h"

enum { KEPT = 512 };

static volatile int got; /* how many signals the guest's handler had, and the first of them */
static int values[KEPT];
static siginfo_t infos[KEPT];
static uint64_t fibers[KEPT];
static pid_t tids[KEPT];
static volatile int violations;
static sigset_t mask_in_handler;

static void record(int signo, siginfo_t *info, void *context) {
  (void)signo;
  if (truth_in_host || !context) violations++;
  pthread_sigmask(SIG_BLOCK, NULL, &mask_in_handler);
  if (got < KEPT) {
    values[got] = info->si_value.sival_int;
    infos[got] = *info;
    fibers[got] = ss_current_thread()->fiber_id;
    tids[got] = gettid();
  }
  got++;
}

static void other(int signo) { (void)signo; }

static int install(int signo, int flags, struct sigaction *former) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = record;
  action.sa_flags = SA_SIGINFO | flags;
  sigaddset(&action.sa_mask, SIGUSR2);
  return sigaction(signo, &action, former);
}

/* Attached, on fiber 1, in guest code, `record` installed for `signo`. */
static int begin(ss_thread **thread, int signo, int flags) {
  got = violations = 0;
  memset(infos, 0, sizeof infos);
  truth_in_host = 1;
  CHECK(ss_signal_attach() == 0);
  *thread = ss_current_thread();
  play_resume(*thread, 1);
  CHECK(install(signo, flags, NULL) == 0);
  return 0;
}

static int end(ss_thread *thread) {
  play_suspend(thread);
  ss_signal_detach();
  return violations ? __LINE__ : 0;
}

#define BEGIN(signo, flags) \
  ss_thread *thread;        \
  do {                      \
    int line = begin(&thread, signo, flags); \
    if (line) return line;  \
  } while (0)

/* The handler that the kernel has, whatever any library says. */
static void *kernel_handler(int signo) {
  struct {
    void *handler;
    unsigned long flags, restorer, mask;
  } action = {0};
  syscall(SYS_rt_sigaction, signo, NULL, &action, 8);
  return action.handler;
}

/* 200 real-time signals, more than the queue holds: all arrive, in order. */
int case_overflow(void) {
  BEGIN(SIGRTMIN, 0);
  play_enter(thread);
  for (int i = 0; i < 200; i++) CHECK(play_send(SIGRTMIN, i) == 0);
  CHECK(got == 0);
  play_leave(thread);
  CHECK(got == 200);
  for (int i = 0; i < 200; i++) CHECK(values[i] == i && infos[i].si_code == SI_QUEUE);
  CHECK(play_send(SIGRTMIN, 7) == 0 && got == 201); /* nothing stayed blocked */
  return end(thread);
}

/* The same for two fibers: each gets its own, though the kernel had to keep some of both. */
int case_overflow_of_two_fibers(void) {
  BEGIN(SIGRTMIN, 0);
  play_enter(thread);
  for (int i = 0; i < 100; i++) CHECK(play_send(SIGRTMIN, i) == 0);
  play_suspend(thread);
  play_resume(thread, 2);
  CHECK(got == 0);
  play_enter(thread);
  for (int i = 0; i < 100; i++) CHECK(play_send(SIGRTMIN, 1000 + i) == 0);
  play_leave(thread);
  CHECK(got == 100);
  play_suspend(thread);
  play_resume(thread, 1);
  CHECK(got == 200);
  for (int i = 0; i < 100; i++) {
    CHECK(values[i] == 1000 + i && fibers[i] == 2);
    CHECK(values[100 + i] == i && fibers[100 + i] == 1);
  }
  return end(thread);
}

/* A signal waits for its fiber, one without a fiber for anyone, and a dead fiber's is dropped. */
int case_fibers(void) {
  BEGIN(SIGRTMIN, 0);
  play_enter(thread);
  CHECK(play_send(SIGRTMIN, 1) == 0);
  CHECK(thread->pending == 1);
  play_suspend(thread);
  CHECK(thread->pending == 0);
  play_resume(thread, 2);
  CHECK(got == 0);
  play_enter(thread);
  CHECK(play_send(SIGRTMIN, 2) == 0);
  play_suspend(thread);
  CHECK(play_send(SIGRTMIN, 0) == 0);
  CHECK(ss_signal_fiber_end(thread, 2) == 1);
  CHECK(ss_signal_fiber_end(thread, 2) == 0);
  play_resume(thread, 3);
  CHECK(got == 1 && values[0] == 0 && fibers[0] == 3);
  play_suspend(thread);
  play_resume(thread, 1);
  CHECK(got == 2 && values[1] == 1 && fibers[1] == 1);
  return end(thread);
}

/* A standard signal is pending once, with the first one's siginfo; codes of the kernel's own survive. */
int case_standard(void) {
  BEGIN(SIGUSR1, 0);
  play_enter(thread);
  for (int i = 5; i < 9; i++) CHECK(play_send(SIGUSR1, i) == 0);
  CHECK(thread->pending == 1);
  errno = 77;
  play_leave(thread);
  CHECK(errno == 77 && got == 1 && values[0] == 5 && infos[0].si_code == SI_QUEUE);
  play_enter(thread);
  CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0);
  play_leave(thread);
  CHECK(got == 2 && infos[1].si_code == SI_TKILL && infos[1].si_pid == getpid() && infos[1].si_uid == getuid());
  return end(thread);
}

/* The guest's flags and mask, deferred and not. */
int case_mask_and_flags(void) {
  BEGIN(SIGRTMIN, 0);
  for (int deferred = 0; deferred < 2; deferred++) {
    if (deferred) play_enter(thread);
    CHECK(play_send(SIGRTMIN, 0) == 0);
    if (deferred) play_leave(thread);
    CHECK(got == deferred + 1);
    CHECK(sigismember(&mask_in_handler, SIGRTMIN) && sigismember(&mask_in_handler, SIGUSR2));
    CHECK(!sigismember(&mask_in_handler, SIGUSR1) && !sigismember(&mask_in_handler, SIGTERM));
  }
  CHECK(install(SIGRTMIN, (int)(SA_NODEFER | SA_RESETHAND), NULL) == 0);
  CHECK(play_send(SIGRTMIN, 0) == 0);
  CHECK(got == 3 && !sigismember(&mask_in_handler, SIGRTMIN));
  CHECK(kernel_handler(SIGRTMIN) == (void *)SIG_DFL);
  sigset_t now;
  pthread_sigmask(SIG_BLOCK, NULL, &now);
  CHECK(!sigismember(&now, SIGRTMIN) && !sigismember(&now, SIGUSR2));
  return end(thread);
}

/* Guests see their own handlers, the host's pass through, the tick is refused. */
int case_registrations(void) {
  BEGIN(SIGUSR1, SA_RESTART);
  struct sigaction former;
  CHECK(kernel_handler(SIGUSR1) != (void *)record);
  CHECK(sigaction(SIGUSR1, NULL, &former) == 0);
  CHECK(former.sa_sigaction == record && former.sa_flags == (SA_SIGINFO | SA_RESTART));
  CHECK(sigismember(&former.sa_mask, SIGUSR2) && !sigismember(&former.sa_mask, SIGTERM));
  CHECK((void *)signal(SIGUSR1, other) == (void *)record);
  CHECK(kernel_handler(SIGUSR1) != (void *)other);
  CHECK(signal(SIGUSR1, SIG_IGN) == other && kernel_handler(SIGUSR1) == (void *)SIG_IGN);
  CHECK(signal(SIGUSR1, other) == SIG_IGN);
  CHECK(sigaction(ss_tick_signal(), &former, NULL) == -1 && errno == EINVAL);
  CHECK(signal(0, other) == SIG_ERR && errno == EINVAL);
  play_enter(thread);
  CHECK(install(SIGUSR1, 0, NULL) == 0);
  CHECK(kernel_handler(SIGUSR1) == (void *)record);
  truth_in_host = 0; /* the host's handler may run */
  CHECK(play_send(SIGUSR1, 3) == 0);
  CHECK(got == 1 && thread->pending == 0);
  truth_in_host = 1;
  CHECK(ss_signal_adopt(SIGUSR1) == 0 && kernel_handler(SIGUSR1) != (void *)record);
  CHECK(ss_signal_adopt(SIGUSR1) == 0 && ss_signal_adopt(SIGSEGV) == EINVAL);
  CHECK(play_send(SIGUSR1, 4) == 0 && got == 1);
  play_leave(thread);
  CHECK(got == 2 && values[1] == 4);
  int line = end(thread);
  CHECK(ss_signal_adopt(SIGUSR1) == EPERM);
  signal(SIGUSR1, SIG_IGN);
  return line;
}

/* What waits for a handler that is gone does not end the process. */
int case_handler_gone(void) {
  BEGIN(SIGUSR1, 0);
  play_enter(thread);
  CHECK(play_send(SIGUSR1, 1) == 0);
  play_suspend(thread);
  play_resume(thread, 2);
  CHECK((void *)signal(SIGUSR1, SIG_DFL) == (void *)record);
  play_suspend(thread);
  play_resume(thread, 1);
  CHECK(got == 0 && thread->pending == 0);
  return end(thread);
}

static void *raise_here(void *unused) {
  (void)unused;
  raise(SIGUSR1);
  play_send(SIGRTMIN, 41);
  return NULL;
}

/* A signal that lands on a thread of somebody else's runs on the interpreter thread, with its siginfo. */
int case_forward(void) {
  BEGIN(SIGRTMIN, 0);
  CHECK(install(SIGUSR1, 0, NULL) == 0);
  pthread_t foreign;
  play_enter(thread);
  CHECK(pthread_create(&foreign, NULL, raise_here, NULL) == 0);
  pthread_join(foreign, NULL);
  CHECK(got == 0);
  play_leave(thread);
  CHECK(got == 2 && tids[0] == gettid() && tids[1] == gettid());
  int standard = infos[0].si_signo == SIGUSR1 ? 0 : 1;
  CHECK(infos[standard].si_signo == SIGUSR1 && infos[standard].si_code == SI_TKILL);
  CHECK(infos[!standard].si_signo == SIGRTMIN && values[!standard] == 41 && infos[!standard].si_code == SI_QUEUE);
  kill(getpid(), SIGUSR1); /* on whichever thread it lands */
  for (int i = 0; i < 1000 && got < 3; i++) usleep(1000);
  CHECK(got == 3 && infos[2].si_code == SI_USER && infos[2].si_pid == getpid() && tids[2] == gettid());
  int line = end(thread);
  CHECK(pthread_create(&foreign, NULL, raise_here, NULL) == 0); /* nobody is left: dropped */
  pthread_join(foreign, NULL);
  CHECK(got == 3);
  return line;
}

typedef struct stream {
  pthread_t to;
  int count;
} stream;

static volatile int next_value, disorder;

static void in_order(int signo, siginfo_t *info, void *context) {
  (void)signo, (void)context;
  if (truth_in_host) violations++;
  if (info->si_value.sival_int != next_value) disorder++;
  next_value = info->si_value.sival_int + 1;
}

static void *send_stream(void *argument) {
  stream *stream = argument;
  volatile uint64_t pause = 0;
  for (int i = 0; i < stream->count; i++) {
    for (int k = 0; k < i % 97 * 100; k++) pause += 1; /* bursts and gaps */
    union sigval value;
    memset(&value, 0, sizeof value);
    value.sival_int = i;
    while (pthread_sigqueue(stream->to, SIGRTMIN + 2, value) == EAGAIN) sched_yield();
  }
  return NULL;
}

/* Another thread sends as fast as it can while this one crosses: none is lost and none overtakes. */
int case_stream(int count, int protect, uint64_t *crossings, int *out_of_order, int *violated) {
  BEGIN(SIGRTMIN, 0);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = in_order;
  action.sa_flags = SA_SIGINFO;
  next_value = disorder = 0;
  CHECK(sigaction(SIGRTMIN + 2, &action, NULL) == 0);
  stream stream = {pthread_self(), count};
  pthread_t sender;
  CHECK(pthread_create(&sender, NULL, send_stream, &stream) == 0);
  volatile uint64_t work = 0;
  uint64_t made = 0;
  while (next_value < count && made < UINT64_C(4000000000)) {
    if (protect) ss_enter_host(thread);
    truth_in_host = 1;
    for (uint64_t k = 0; k < made % 301; k++) work += k;
    truth_in_host = 0;
    if (protect) ss_leave_host(thread);
    made++;
  }
  pthread_join(sender, NULL);
  *crossings = made;
  *out_of_order = disorder;
  *violated = violations;
  violations = 0;
  CHECK(next_value == count);
  return end(thread);
}

/* `load` comes from a library that was opened at run time: its sigaction() is caught as well. */
int case_loaded(int (*load)(int, void (*)(int, siginfo_t *, void *))) {
  BEGIN(SIGUSR1, 0);
  CHECK(load(SIGRTMIN + 1, record) == 0);
  CHECK(kernel_handler(SIGRTMIN + 1) != (void *)record);
  play_enter(thread);
  CHECK(play_send(SIGRTMIN + 1, 9) == 0 && got == 0);
  play_leave(thread);
  CHECK(got == 1 && values[0] == 9);
  return end(thread);
}
