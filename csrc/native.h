/*
 * Plain C functions as guests: a fiber's entry for them, and what it is told to do.
 */
#ifndef SIDESTACK_NATIVE_H
#define SIDESTACK_NATIVE_H

#include "crossing.h"

/*
 * A C function over crossing.h: gets a run of values, leaves one value. Returns SS_OK; SS_ERROR with a STRING (the
 * message) in `*result`; or SS_KILL, if a host call told it so. What `*result` points to stays valid until the
 * function is called again on this thread, or is constant. (The public kind is sidestack_function.)
 * [fiber; may suspend; does not raise]
 */
typedef int (*ss_native_function)(ss_value *args, uint32_t nargs, ss_value *result);

/*
 * Calls a C function of any scalar signature with its arguments, one in each of `slots`; leaves one value.
 * [fiber; may suspend; no]
 */
typedef void (*ss_native_thunk)(const void *function, const union sidestack_payload *slots, ss_value *result);

enum ss_native_task {
  SS_NATIVE_NOTHING = 0,
  SS_NATIVE_FUNCTION, /* function, args */
  SS_NATIVE_PUBLIC,   /* callable, data, args */
  SS_NATIVE_TYPED,    /* thunk, typed, scalars */
  SS_NATIVE_SLOT,     /* slot, args: a callback */
  SS_NATIVE_FOREIGN,  /* args: what a foreign thread calls: the host function's id, then its arguments */
  SS_NATIVE_FAIL,     /* error */
  SS_NATIVE_RELEASE,  /* slots: callbacks that are the host's own */
  SS_NATIVE_STOP,
};

/* One run. */
typedef struct ss_native_run {
  uint32_t task; /* enum ss_native_task */
  uint32_t nargs;
  ss_value *args;
  ss_native_function function;
  sidestack_function callable;
  void *data;
  ss_native_thunk thunk;
  const void *typed;
  const union sidestack_payload *scalars;
  uint64_t slot;
  const uint64_t *slots;
  size_t nslots;
  ss_value error[2]; /* code, message */
} ss_native_run;

/* What a native fiber starts in; `run` is a ss_native_run. [fiber; may suspend; does not raise] */
void ss_native_entry(void *run);

/* `ss_thread.guest` on the threads of this guest: callbacks work there. */
extern char ss_native_anchor;

/*
 * The C++ runtime's state of a thread (exceptions being handled or thrown), which each fiber has of its own: a
 * pointer to two words, or NULL if there is no C++ in the process. [any thread; no; no]
 */
void **ss_native_cxx_state(void);

#endif
