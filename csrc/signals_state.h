/*
 * What the signal files share with each other and with nobody else: a thread's queue, and the kernel calls without the
 * C library's changes to them.
 */
#ifndef SIDESTACK_SIGNALS_STATE_H
#define SIDESTACK_SIGNALS_STATE_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "faults.h"
#include "thread.h"

/* The sanitizer has interposers and handlers of its own; ss_signal_adopt() remains. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SS_NO_INTERPOSER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SS_NO_INTERPOSER 1
#endif

enum { SS_SIGNALS = 65 /* 1..64; 0 is none */, SS_QUEUE_ENTRIES = 64 };

/* A deferred signal. */
typedef struct ss_deferred {
  siginfo_t info;
  uint64_t fiber; /* that was current when it came; 0: none was */
} ss_deferred;

/* The part of a thread's state that only the signal files touch. Written by handlers: see the prose in signals.c. */
typedef struct ss_signals {
  ss_deferred *entries; /* in order of arrival */
  volatile uint32_t count;
  uint32_t capacity;
  volatile uint64_t changes; /* grows when a handler changed what `pending` is counted from */
  uint64_t installed;        /* the signals that guests of this thread installed handlers for */
  volatile uint64_t blocked; /* the signals that a handler blocked because the queue was full */
  uint64_t current;          /* the fiber that was current when they were blocked */
  uint32_t inflight[SS_SIGNALS]; /* raised again and not yet arrived */
  volatile int look_up;      /* a tick came in host code: guest_interrupt is due on the return to C */
  pid_t tid;

  size_t entries_size; /* of the mapping of `entries` */
  void *stack;         /* mapping of the alternate stack, guard included */
  size_t stack_size;
  stack_t former_stack;

  void *fault_stack;  /* lowest address: where a fiber that has faulted gives up the thread; in the mapping of `stack`, above it */
  ss_fault *fault;    /* above that */
  volatile int steps; /* instructions done while stepping out of the C library; 0: not stepping */
  uint64_t mask;      /* of the thread when it attached */

  timer_t timer;
  uint64_t seen_epoch; /* by the last tick */
} ss_signals;

extern __thread ss_signals ss_signals_state __attribute__((tls_model("initial-exec")));

/* Kernel masks: bit signo - 1. */
#define SS_BIT(signo) (UINT64_C(1) << ((signo) - 1))

/* Signals that the faulting instruction causes: blocking them turns a fault into sudden death. */
#define SS_FAULTS (SS_BIT(SIGSEGV) | SS_BIT(SIGBUS) | SS_BIT(SIGFPE) | SS_BIT(SIGILL) | SS_BIT(SIGTRAP) | SS_BIT(SIGSYS))

/* Everything that our handlers and critical sections block: not faults, nor the two that the C library keeps (32, 33). */
#define SS_BLOCKABLE (~(SS_FAULTS | SS_BIT(32) | SS_BIT(33)))

/* rt_sigprocmask of the kernel's 64-bit mask; returns the former one. [any; no; no] */
uint64_t ss_set_mask(int how, uint64_t mask);

/* Recounts thread->pending; call it with signals blocked, or as ss_signal_switch does. [interpreter thread; no; no] */
void ss_signals_recount(ss_thread *thread, ss_signals *signals);

/* The handler that stands in for every guest's. [any thread; no; as the guest's handler may] */
void ss_signals_handler(int signo, siginfo_t *info, void *context);

#endif
