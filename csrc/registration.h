/* Which handlers guests have installed: the process-wide table behind the interposed sigaction() and signal(). */
#ifndef SIDESTACK_REGISTRATION_H
#define SIDESTACK_REGISTRATION_H

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

/* What a guest asked for. */
typedef struct ss_guest_action {
  uintptr_t handler; /* sa_handler or sa_sigaction, by SA_SIGINFO in flags */
  int flags;
  uint64_t mask;
} ss_guest_action;

/* The guest's action and the thread that owns it (0: gone). 0 if our handler does not stand for a guest's now.
   [any thread, also in a handler; no; no] */
int ss_registration_read(int signo, ss_guest_action *action, pid_t *owner);

/* The signals that our handler stands in for. [any thread, also in a handler; no; no] */
uint64_t ss_registration_wrapped(void);

/* SA_RESETHAND: back to the default before the handler runs. [any thread, also in a handler; no; no] */
void ss_registration_reset(int signo);

/* The thread `owner` is gone. [interpreter thread; no; no] */
void ss_registration_forget(pid_t owner);

/* sigaction() as the next library defines it. [any thread, also in a handler; no; no] */
int ss_real_sigaction(int signo, const struct sigaction *action, struct sigaction *former);

#endif
