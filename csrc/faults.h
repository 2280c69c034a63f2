/*
 * Faults of guest code: contained where that is safe, reported where it is not. The rules are at the top of faults.c.
 */
#ifndef SIDESTACK_FAULTS_H
#define SIDESTACK_FAULTS_H

#include <stddef.h>
#include <stdint.h>

#include "snapshot.h"
#include "thread.h"

/* What is known of a fault. */
typedef struct ss_fault {
  int signo;         /* SIGABRT: abort() */
  int overflow;      /* the address lies in the guard of the current fiber's stack */
  uintptr_t address; /* that was touched; of SIGFPE and SIGILL: the instruction */
  ss_snapshot at;    /* where it happened */
} ss_fault;

/*
 * Contains the faults of guest code on the calling thread from now on, until ss_signal_detach. The first call in a
 * process installs the handlers. 0 or an errno; ENOTSUP: under the sanitizer, which has handlers of its own.
 * [interpreter thread; no; no]
 */
int ss_faults_contain(void);

/* After `ss_thread_state.faulted` was found set: what happened. Valid until ss_signal_detach. [interpreter thread; no; no] */
const ss_fault *ss_fault_read(void);

/* Copies memory that may not be there; 0: it is not. [any, also in a handler; no; no] */
int ss_fault_copy(void *to, const void *from, size_t size);

/* ---- for faults.c and fault_report.c ---- */

/* Notes which objects (the program, shared libraries) are where. [any thread, not in a handler; no; no] */
void ss_fault_note_objects(void);

/* The name of the object at `address` if code there may hold a lock that everybody needs; or NULL. [any, also in a handler; no; no] */
const char *ss_fault_locks(uintptr_t address);

/* Whether a program or a library is at `address`. [any, also in a handler; no; no] */
int ss_fault_object(uintptr_t address);

/* Tells on stderr why the process ends. [any, also in a handler; no; no] */
void ss_fault_report(const ss_fault *fault, const char *why, const char *object);

#endif
