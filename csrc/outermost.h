/*
 * For upcalls beside those of crossing.c: only the outermost crossing changes the in-host flag (see there).
 */
#ifndef SIDESTACK_OUTERMOST_H
#define SIDESTACK_OUTERMOST_H

#include "signals.h"
#include "thread.h"

/* Whether this is guest code on a fiber that calls the host; if so signals are deferred from here on. [any thread; no; no] */
static inline int ss_outermost_enter(ss_thread *thread) {
  int outermost = thread->place == SS_ON_FIBER;
  if (outermost) ss_enter_host(thread);
  return outermost;
}

/* The way back, with what ss_outermost_enter returned. [as ss_leave_host] */
static inline void ss_outermost_leave(ss_thread *thread, int outermost) {
  if (outermost) ss_leave_host(thread);
}

#endif
