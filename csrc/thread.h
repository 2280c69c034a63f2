/*
 * What the bridge keeps for each OS thread.
 *
 * One struct, in initial-exec TLS, read and written by C on the fast path and by Rust through the pointer that
 * `ss_thread()` gives. On a thread that is no interpreter thread it stays zeroed and `attached` is 0.
 */
#ifndef SIDESTACK_THREAD_H
#define SIDESTACK_THREAD_H

#include <stdint.h>

/* Where the code that runs now has its stack (DESIGN: place). */
enum ss_place {
  SS_NO_FIBER = 0,  /* the worker loop: no fiber is current */
  SS_ON_FIBER = 1,  /* guest code, on a fiber's stack or one that the guest made itself */
  SS_ON_THREAD = 2, /* host code, on the thread's own stack, below a fiber's host call */
};

/* Why running guest code is to look up (bits of `ss_thread.interrupt`). */
enum ss_interrupt {
  SS_INTERRUPT_SLICE = 1,  /* its time slice is over and somebody else is ready */
  SS_INTERRUPT_DEADLINE = 2, /* its deadline has passed */
  SS_INTERRUPT_CANCEL = 4, /* it was cancelled or is to be killed: stays set until the fiber is gone */
};

typedef struct ss_thread {
  uintptr_t host_stack;        /* where this thread's own stack is free while a fiber runs; first: ss_move_to looks here */
  volatile int in_host;        /* 1 while host code runs: guests' signals are deferred */
  volatile int place;          /* enum ss_place; beside in_host: a crossing changes both at once */
  volatile int pending;        /* how many deferred signals wait for the fiber that is current */
  volatile int interrupt;      /* ss_interrupt bits; guests poll it, a tick sets it */
  int nested;                  /* host code called C that called the host: nothing there can wait */
  uint32_t sleep_function;     /* the host function behind sidestack_sleep(), + 1; 0: not looked up yet */
  const void *host;            /* what this interpreter's guest is told of the host's functions: ss_host_desc (crossing.h) */
  void *fiber;                 /* the current fiber's record (Rust's; opaque to C), or NULL */
  uint64_t fiber_id;           /* its id, never reused in a process; 0: none */
  uintptr_t stack_base;        /* of the current fiber's stack: highest address */
  uintptr_t stack_limit;       /* lowest usable address; 0 while no fiber is current: no limit */
  uintptr_t stack_guard;       /* bytes below it that fault when touched */
  uintptr_t frame;             /* of the crossing that a fiber's code made last: whoever walks its stack begins there */
  volatile uint64_t epoch;     /* counts resumes: a tick that carries another epoch is stale */
  volatile uint64_t deadline;  /* of the current fiber, CLOCK_MONOTONIC nanoseconds; UINT64_MAX: none */
  volatile uint64_t alarm;     /* the guest's, for the current fiber, as above: a host call that waits then fails with "alarm" */
  volatile int others_ready;   /* another fiber waits for this thread */
  volatile int deferred;       /* not 0: signals are queued, or a tick came in host code: ss_signal_switch is due */
  volatile uint32_t idle;      /* ticks in a row that found no fiber current */
  volatile uint64_t armed;     /* the tick's period in nanoseconds; 0: disarmed */
  volatile int attached;       /* 1: this is an interpreter thread */
  volatile int contain;        /* 1: faults of guest code end the call, not the process */
  volatile int faulted;        /* 1: the current fiber has faulted, and is never to be resumed */
  volatile int allocating;     /* 1: the allocator of a guest's own heap runs */
  void (*volatile guest_interrupt)(void); /* makes running guest code look up; async-signal-safe; may be NULL */
  void (*volatile guest_where)(char *, uintptr_t); /* writes the script's stack, a line each, innermost first; async-signal-safe; may be NULL */
  void *guest;                 /* the guest's own anchor (Lua: its universe) */
} ss_thread;

extern __thread ss_thread ss_thread_state __attribute__((tls_model("initial-exec")));

/* The calling thread's state. Any thread; does not suspend; does not raise. */
ss_thread *ss_current_thread(void);

#endif
