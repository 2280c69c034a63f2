/*
 * Slices and deadlines: one timer a thread, whose signal looks at the thread's state and makes running guest code look
 * up. The rules are at the top of tick.c.
 */
#ifndef SIDESTACK_TICK_H
#define SIDESTACK_TICK_H

#include <stdint.h>

/* Chooses the signal, a real-time one; the default is SIGRTMIN + 3. 0 or an errno: EINVAL, or EBUSY once a thread has
   attached. [any thread; no; no] */
int ss_tick_set_signal(int signo);

/* The signal in use. [any thread, also in a handler; no; no] */
int ss_tick_signal(void);

/*
 * Ticks every `period_ns` until no fiber was current for two ticks; 0 stops at once. Costs two stores while armed with
 * the same period. Call it before each resume that needs ticks. 0 or an errno. [interpreter thread; no; no]
 */
int ss_tick_arm(uint64_t period_ns);

/* The calling thread's period, 0 while disarmed. [interpreter thread; no; no] */
uint64_t ss_tick_armed(void);

/* Makes the thread's timer, disarmed; for ss_signal_attach. 0 or an errno: EBUSY if the signal has a handler already.
   [any thread; no; no] */
int ss_tick_create(void);

/* Deletes it; for ss_signal_detach. [interpreter thread; no; no] */
void ss_tick_delete(void);

#endif
