/* What guest code can do wrong, one way a number; see src/faults.rs. */
#include <native.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

enum kind {
  NOTHING,
  RECURSE,
  NULL_WRITE,
  DIVIDE,
  UD2,
  ABORT,
  NULL_CALL,
  OWN_STACK,
  IN_LIBC,
  LIBC_OVERFLOW,
  RAISED,
  REPLACE_HANDLER,
  IN_HANDLER,
  ABORT_HANDLED,
  DEEP_ABORT,
  WHILE_DEFERRED,
};

/* Never ends, and the compiler does not know it. */
static volatile int on = 1;

static int64_t recurse(int64_t depth) {
  volatile char frame[512];
  frame[depth % 512] = (char)depth;
  return on ? recurse(depth + 1) + frame[0] : 0;
}

static void write_null(void) { *(volatile int *)NULL = 1; }

static ucontext_t own, outer;

static void run_on_own_stack(void) { write_null(); }

static void on_own_stack(void) {
  getcontext(&own);
  own.uc_stack.ss_size = 64 * 1024;
  own.uc_stack.ss_sp = malloc(own.uc_stack.ss_size);
  own.uc_link = &outer;
  makecontext(&own, run_on_own_stack, 0);
  swapcontext(&outer, &own);
}

/* Overflows wherever the C library happens to be: it allocates and prints in each frame. */
static int64_t recurse_in_libc(int64_t depth) {
  char text[64];
  void *block = malloc(100 + (size_t)depth % 1000);
  int length = snprintf(text, sizeof text, "%g %d", 1.5, (int)depth);
  int64_t below = on ? recurse_in_libc(depth + 1) : 0;
  free(block);
  return below + length;
}

static void fault_in_handler(int signo) {
  (void)signo;
  write_null();
}

static volatile sig_atomic_t told;
static void tell(int signo) { told += signo == SIGABRT; }

/* A handler that is never run: the fault comes first. */
static void never(int signo) {
  (void)signo;
  _exit(99);
}

static int64_t abort_deep(int64_t depth) {
  volatile char frame[64];
  frame[0] = 1;
  char here;
  const ss_thread *thread = ss_current_thread();
  if ((uintptr_t)&here - thread->stack_limit < 600) abort();
  return on ? abort_deep(depth + 1) + frame[0] : 0;
}

/* (kind, a host function's id, its argument): waits there first if the id is not negative, then faults. */
int faults_do(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  volatile int zero = 0, some = 1000;
  if (args[1].as.integer >= 0) {
    ss_call call = {0};
    ss_value value = {.tag = SS_INT, .as.integer = args[2].as.integer};
    int status = ss_host_call((uint32_t)args[1].as.integer, &value, 1, &call);
    ss_host_end(&call);
    if (status != SS_OK) return SS_KILL;
  }
  *result = (ss_value){.tag = SS_INT, .as.integer = 42};
  switch ((enum kind)args[0].as.integer) {
    case RECURSE:
      result->as.integer = recurse(0);
      break;
    case NULL_WRITE:
      write_null();
      break;
    case DIVIDE:
      result->as.integer = some / zero;
      break;
    case UD2:
      __asm__ volatile("ud2");
      break;
    case ABORT:
      abort();
    case NULL_CALL:
      ((void (*volatile)(void))NULL)();
      break;
    case OWN_STACK:
      on_own_stack();
      break;
    case IN_LIBC: {
      void *volatile nowhere = NULL;
      result->as.integer = (int64_t)strlen(nowhere);
      break;
    }
    case LIBC_OVERFLOW:
      result->as.integer = recurse_in_libc(args[2].as.integer);
      break;
    case RAISED:
      raise(SIGFPE);
      break;
    case REPLACE_HANDLER: {
      struct sigaction action;
      memset(&action, 0, sizeof action);
      action.sa_handler = never;
      int refused = sigaction(SIGSEGV, &action, NULL) + (signal(SIGILL, SIG_DFL) == SIG_ERR ? -1 : 0);
      if (refused == -2) write_null();
      break;
    }
    case IN_HANDLER:
      signal(SIGUSR1, fault_in_handler);
      raise(SIGUSR1);
      break;
    case ABORT_HANDLED:
      signal(SIGABRT, tell);
      abort();
    case DEEP_ABORT:
      result->as.integer = abort_deep(0);
      break;
    case WHILE_DEFERRED: {
      /* Blocked here, and sent: they stay in the kernel or in the queue, whatever comes first, and are nobody's later. */
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, SIGRTMIN + 5);
      signal(SIGRTMIN + 5, never);
      sigprocmask(SIG_BLOCK, &set, NULL);
      for (int i = 0; i < 100; i++) pthread_sigqueue(pthread_self(), SIGRTMIN + 5, (union sigval){.sival_int = i});
      write_null();
      break;
    }
    case NOTHING:
      break;
  }
  return SS_OK;
}

/* How often the handler of ABORT_HANDLED ran. */
int faults_told(void) { return told; }

/* For host code. */
void faults_null_write(void) { write_null(); }
