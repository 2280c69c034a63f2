/*
 * Plain C functions as guests: a fiber's entry for them, and their signature.
 */
#ifndef SIDESTACK_NATIVE_H
#define SIDESTACK_NATIVE_H

#include "crossing.h"

/*
 * A plain C function that runs on a fiber: gets a run of values, leaves one value. Returns SS_OK; SS_ERROR with a STRING (the message) in
 * `*result`; or SS_KILL, if a host call told it so. What `*result` points to stays valid until the function is called
 * again on this thread, or is constant.
 * [fiber; may suspend; does not raise]
 */
typedef int (*ss_native_function)(ss_value *args, uint32_t nargs, ss_value *result);

/* One run of one. */
typedef struct ss_native_run {
  ss_native_function function; /* NULL: nothing to call */
  ss_value *args;
  uint32_t nargs;
} ss_native_run;

/* What a native fiber starts in; `run` is a ss_native_run. [fiber; may suspend; does not raise] */
void ss_native_entry(void *run);

#endif
