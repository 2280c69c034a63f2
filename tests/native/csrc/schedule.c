/*
 * A fiber that does what a list says, with signals: for random schedules. Each signal carries the number of the fiber that it
 * is for; what was sent and what arrived is counted by number.
 */
#include "public.h"

#include <native.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { NUMBERS = 1 << 16 };

enum operation {
  READY,      /* a host call that is ready */
  GATE,       /* one that waits for the fiber's gate */
  NAP,        /* a wait of a millisecond */
  TURN,       /* gives way */
  RAISE,      /* a signal in guest code */
  HOST_RAISE, /* signals while host code runs for this fiber */
  OBJECT,     /* a host object, kept until the end */
  CALLBACK,   /* a callback of the host, which naps */
  OWN_STACK,  /* a nap on a stack of C's own */
  FAIL = 20,  /* the ends; none: the fiber's number is the result */
  NULL_WRITE,
  RECURSE,
  ABORT,
  DIVIDE,
};

static struct {
  uint64_t fiber;
  int sent, arrived;
} numbers[NUMBERS];
static int violations, strangers;
static __thread volatile int in_host;
static volatile int on = 1;

static int signal_of(void) { return SIGRTMIN + 6; }

static void handler(int signo, siginfo_t *info, void *context) {
  (void)signo, (void)context;
  int number = info->si_value.sival_int;
  if (in_host) __atomic_add_fetch(&violations, 1, __ATOMIC_RELAXED);
  if (number < 0) return; /* of the storm: nobody's */
  if (ss_current_thread()->fiber_id != numbers[number].fiber) __atomic_add_fetch(&strangers, 1, __ATOMIC_RELAXED);
  __atomic_add_fetch(&numbers[number].arrived, 1, __ATOMIC_RELAXED);
}

static int send_here(int number) {
  if (number >= 0) numbers[number].sent++;
  return pthread_sigqueue(pthread_self(), signal_of(), (union sigval){.sival_int = number});
}

/* Signals for the fiber that this host call is of; negative: for nobody. [host code on the interpreter thread; no; no] */
void schedule_send(int number, int count) {
  in_host = 1;
  for (int i = 0; i < count; i++) send_here(number);
  in_host = 0;
}

/* One of the storm, to a thread of this process: 0, or an errno. [any thread; no; no] */
int schedule_storm(int thread) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_code = SI_QUEUE;
  info.si_signo = signal_of();
  info.si_pid = getpid();
  info.si_value.sival_int = -1;
  return syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, signal_of(), &info) ? errno : 0;
}

/* What was sent and what arrived, by number; and what should not be. [any thread; no; no] */
void schedule_counts(int number, int out[4]) {
  out[0] = numbers[number].sent;
  out[1] = numbers[number].arrived;
  out[2] = violations;
  out[3] = strangers;
}

static int64_t recurse(int64_t depth) {
  volatile char frame[256];
  frame[depth % 256] = (char)depth;
  return on ? recurse(depth + 1) + frame[0] : 0;
}

static FUNCTION(naps) {
  (void)data, (void)args, (void)nargs;
  int status = sidestack_sleep(0.001);
  return status ? status : sidestack_return(results, sidestack_int(1));
}

typedef struct own_stack {
  ucontext_t own, outer;
  int status;
} own_stack;

static void body(unsigned low, unsigned high) {
  own_stack *self = (own_stack *)((uintptr_t)low | (uintptr_t)high << 32);
  self->status = sidestack_sleep(0.001);
}

static int on_own_stack(void) {
  own_stack self = {.status = -1};
  uintptr_t address = (uintptr_t)&self;
  size_t size = 64 << 10;
  void *memory = malloc(size);
  getcontext(&self.own);
  self.own.uc_stack.ss_sp = memory;
  self.own.uc_stack.ss_size = size;
  self.own.uc_link = &self.outer;
  makecontext(&self.own, (void (*)(void))body, 2, (unsigned)address, (unsigned)(address >> 32));
  swapcontext(&self.outer, &self.own);
  free(memory);
  return self.status;
}

static int call_back(void) {
  sidestack_value run[2] = {sidestack_nil(), sidestack_int(2)};
  int status = sidestack_callback(naps, NULL, NULL, &run[0]);
  if (status) return status;
  status = sidestack_call_name("s.apply", run, 2, NULL);
  sidestack_callback_release(run[0]);
  return status;
}

static int do_one(enum operation operation, int number, sidestack_handle *object) {
  switch (operation) {
    case READY:
      return call_int("s.ready", number, NULL);
    case GATE:
      return call_int("s.gate", number, NULL);
    case NAP:
      return sidestack_sleep(0.001);
    case TURN:
      return sidestack_yield();
    case RAISE:
      return send_here(number) ? SIDESTACK_ERROR : SIDESTACK_OK;
    case HOST_RAISE:
      return call_int("s.signals", number, NULL);
    case OBJECT: {
      if (*object) return SIDESTACK_OK;
      sidestack_results results;
      sidestack_results_init(&results);
      int status = sidestack_call_name("s.object", NULL, 0, &results);
      if (!status) {
        *object = results.values[0].as.key;
        sidestack_keep(&results.values[0]);
      }
      sidestack_results_free(&results);
      return status;
    }
    case CALLBACK:
      return call_back();
    case OWN_STACK:
      return on_own_stack();
    case FAIL:
      return sidestack_fail("as_asked", "as asked");
    case NULL_WRITE:
      *(volatile int *)NULL = 1;
      break;
    case RECURSE:
      recurse(0);
      break;
    case ABORT:
      abort();
    case DIVIDE: {
      volatile int zero = 0, some = 1000;
      some = some / zero;
      break;
    }
  }
  return SIDESTACK_OK;
}

/* (number, a list of operations): the number, or the first failure. */
FUNCTION(schedule_run) {
  (void)data, (void)nargs;
  int number = (int)sidestack_int_or(&args[0], 0);
  numbers[number].fiber = sidestack_fiber();
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  if (sigaction(signal_of(), &action, NULL)) return sidestack_fail("test", "sigaction");
  sidestack_handle object = 0;
  int status = SIDESTACK_OK;
  for (uint32_t i = 0; !status && i < args[1].len; i++)
    status = do_one((enum operation)sidestack_int_or(&args[2 + i], READY), number, &object);
  if (object) sidestack_handle_release(object);
  return status ? status : sidestack_return(results, sidestack_int(number));
}
