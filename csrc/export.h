/*
 * Exported Rust functions: how their C symbols, which `sidestack::export` makes, get to the host.
 */
#ifndef SIDESTACK_EXPORT_H
#define SIDESTACK_EXPORT_H

#include "crossing.h"

/* For C code of the tests and shims; the symbols themselves are declared by the generated header. */

/*
 * Calls the function that `export` describes. `args` and `result` are its own layout, in frames that last until this returns. SS_OK: the result
 * is written. Else the last error tells why (sidestack.h).
 * [any thread; may suspend on a fiber; does not raise]
 */
int ss_export_call(const void *export, const void *args, void *result);

/* A call made by a foreign thread that an interpreter's fiber runs. */
typedef struct ss_export_run {
  const void *export;
  const void *args;
  void *result;
} ss_export_run;

/* What such a fiber starts in; `run` is a ss_export_run. [fiber; may suspend; does not raise] */
void ss_export_entry(void *run);

#endif
