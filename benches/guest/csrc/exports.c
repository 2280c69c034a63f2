/*
 * Loops over exported functions, and over what they stand beside: a raw call, swapcontext, a thread that does the work.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>

#include "native.h"

enum { WARM_UP = 64, STACK = 64 * 1024 };

/* Exported by src/exports.rs. */
int64_t bench_export_ready(int64_t);
int64_t bench_export_async_ready(int64_t);
int64_t bench_export_awaited(int64_t);
int64_t bench_export_leaf(int64_t);
uint64_t bench_export_thing(void);
int64_t bench_export_handle(uint64_t, int64_t);

static int64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

typedef int64_t operation(int64_t);

static __attribute__((noinline)) int64_t loop(operation *volatile function, int64_t count) {
  int64_t begun = 0, value = 0;
  for (int64_t i = -WARM_UP; i < count; i++) {
    if (i == 0) begun = now();
    value = function(value);
  }
  return now() - begun;
}

/* ---- a switch to a stack of C's own and back ---- */

static __thread ucontext_t here, there;

static void swap_body(void) {
  for (;;) swapcontext(&there, &here);
}

static int64_t swap(int64_t value) {
  swapcontext(&here, &there);
  return value;
}

/* ---- a thread that does the work ---- */

static sem_t asked, answered;
static int64_t job;
static int over;

static void *work(void *unused) {
  (void)unused;
  for (;;) {
    sem_wait(&asked);
    if (over) return NULL;
    job++;
    sem_post(&answered);
  }
}

static int64_t hand_off(int64_t value) {
  job = value;
  sem_post(&asked);
  sem_wait(&answered);
  return job;
}

static __thread uint64_t thing;

static int64_t by_handle(int64_t value) { return bench_export_handle(thing, value); }

enum { READY, ASYNC_READY, AWAITED, LEAF, SWAPCONTEXT, HANDLE, HAND_OFF };

/* (count, which) → nanoseconds. [fiber; may suspend; does not raise] */
int bench_exports(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  int64_t count = args[0].as.integer, time = 0;
  switch (args[1].as.integer) {
    case READY: time = loop(bench_export_ready, count); break;
    case ASYNC_READY: time = loop(bench_export_async_ready, count); break;
    case AWAITED: time = loop(bench_export_awaited, count); break;
    case LEAF: time = loop(bench_export_leaf, count); break;
    case SWAPCONTEXT: {
      void *stack = malloc(STACK);
      getcontext(&there);
      there.uc_stack.ss_sp = stack;
      there.uc_stack.ss_size = STACK;
      makecontext(&there, swap_body, 0);
      time = loop(swap, count);
      free(stack);
      break;
    }
    case HANDLE:
      thing = bench_export_thing();
      time = loop(by_handle, count);
      ss_object_release(thing);
      break;
    default: {
      pthread_t thread;
      over = 0;
      sem_init(&asked, 0, 0);
      sem_init(&answered, 0, 0);
      if (pthread_create(&thread, NULL, work, NULL)) return SS_KILL;
      time = loop(hand_off, count);
      over = 1;
      sem_post(&asked);
      pthread_join(thread, NULL);
    }
  }
  *result = (ss_value){.tag = SS_INT, .as.integer = time};
  return SS_OK;
}
