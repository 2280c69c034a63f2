/*
 * Deferred signals: a guest's own signal handlers never run while host code does. The protocol and its races are at the
 * top of signals.c; how a guest's registration is caught is in registration.c.
 *
 * Not called signal.h: this directory is on the include path, and would hide the C library's header of that name.
 */
#ifndef SIDESTACK_SIGNALS_H
#define SIDESTACK_SIGNALS_H

#include <stdint.h>

#include "thread.h"

/*
 * Makes the calling thread an interpreter thread: attached, in-host, no fiber; gives it an alternate signal stack, a
 * queue of deferred signals and a disarmed tick timer. 0 or an errno (EALREADY: it is one already).
 * [any thread; no; no]
 */
int ss_signal_attach(void);

/*
 * Undoes ss_signal_attach: signals still queued are dropped, the former alternate stack is back. Handlers that guests
 * of this thread installed stay installed for other interpreter threads; elsewhere they do nothing. Harmless on a
 * thread that is not attached. [interpreter thread, no fiber current, not on the alternate stack; no; no]
 */
void ss_signal_detach(void);

/* The slow half of ss_leave_host; harmless at any time while the flag is 0. [fiber; no; as a guest's handler may] */
void ss_signal_drain(ss_thread *thread);

/*
 * Counts again what waits for the fiber that is current: call it after fiber_id was set to another fiber's, before the place
 * is SS_ON_FIBER and in_host is cleared. Where `deferred` is 0 it is enough to zero `pending`, and to look at `deferred`
 * after that. [interpreter thread, in-host; no; no]
 */
void ss_signal_switch(ss_thread *thread);

/*
 * A fiber is gone, and no longer current: drops what waits for it. Harmless, and needless, where `deferred` is 0. Returns the number of signals
 * dropped, the overruns of timers included. [interpreter thread, in-host; no; no]
 */
uint64_t ss_signal_fiber_end(ss_thread *thread, uint64_t fiber_id);

/*
 * Treats the handler of `signo` that is installed now as one that a guest of the calling thread installed. 0 or an
 * errno: EPERM on a thread that is not attached, EINVAL for a fault signal, the tick, or where there is no handler.
 * [interpreter thread; no; no]
 */
int ss_signal_adopt(int signo);

/* For a benchmark only: what deferral costs if the kernel's mask does it. Blocks all signals; returns the former mask.
   [any thread; no; no] */
uint64_t ss_mask_enter(void);

/* For a benchmark only: restores what ss_mask_enter returned. [any thread; no; as a guest's handler may] */
void ss_mask_leave(uint64_t former);

/* The compiler moves nothing over it. Signals run on the thread that they interrupt, so that is all it takes. */
#define SS_BARRIER() __asm__ volatile("" ::: "memory")

/* From guest code to host code: from here on, guests' signals are deferred. [interpreter thread; no; no] */
static inline void ss_enter_host(ss_thread *thread) {
  SS_BARRIER();
  thread->in_host = 1;
  SS_BARRIER();
}

/*
 * From host code to guest code: deferred signals of the current fiber are delivered before it returns. No Rust frame
 * may be live on this stack: a guest's handler may leave by longjmp. [fiber; no; as a guest's handler may]
 */
static inline void ss_leave_host(ss_thread *thread) {
  SS_BARRIER();
  thread->in_host = 0;
  SS_BARRIER();
  if (__builtin_expect(thread->pending != 0, 0)) ss_signal_drain(thread);
}

#endif
