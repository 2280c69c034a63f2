/* Where C++ exceptions stop: between a C function of the guest's and whoever called it. */
#ifndef SIDESTACK_BARRIER_H
#define SIDESTACK_BARRIER_H

#include "sidestack.h"

/* A call behind the barrier. The code in barrier.c knows the offsets. */
struct ss_barrier_call {
  sidestack_function function;
  void *data;
  const sidestack_value *args;
  uint64_t nargs;
  sidestack_results *results;
  void *caught; /* the exception that stopped here */
};

/* The function's status; meaningless if `caught` is set. [fiber; may suspend; no] */
int ss_barrier(struct ss_barrier_call *call);

/* Ends the exception and makes it the last error. [fiber; as the exception's destructor; no] */
int ss_barrier_caught(struct ss_barrier_call *call);

/* A function of the C++ runtime; NULL if there is none in the process. [any thread; no; no] */
void *ss_barrier_runtime(const char *name);

#endif
