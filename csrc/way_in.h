/*
 * The way in and out of the host, for the whole thread state: the in-host flag (deferred signals) changes here and
 * nowhere else while a fiber runs. Only the outermost crossing touches it: host code that calls C that calls the host is in the
 * host already, and stays there.
 */
#ifndef SIDESTACK_WAY_IN_H
#define SIDESTACK_WAY_IN_H

#include "signals.h"

/* Outermost: guest code on a fiber calls the host. */
#define CROSSING(outermost, crossing)                                                                                            \
  do {                                                                                                                   \
    ss_thread *thread = &ss_thread_state;                                                                                \
    int outermost = thread->place == SS_ON_FIBER;                                                                        \
    if (outermost)                                                                                                       \
      ss_enter_host(thread);                                                                                             \
    crossing;                                                                                                            \
    if (outermost)                                                                                                       \
      ss_leave_host(thread);                                                                                             \
  } while (0)

#endif
