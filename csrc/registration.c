/*
 * Catching guests' registrations.
 *
 * sigaction() and signal() are defined here, in the executable, and so stand before the C library's for code that is
 * linked statically and for what is loaded later. What is registered while a fiber is current and guest code runs is a
 * guest's: its action goes into a table and our handler into the kernel. All else passes through untouched.
 *
 * The table is read by handlers on any thread. Each row is a seqlock: a writer makes its version odd, writes and makes
 * it even. A reader waits for an even version, which cannot deadlock: writers have signals blocked, so that a handler
 * never interrupts one on its own thread. Writers exclude each other by a spin lock, also with signals blocked. The
 * path of the host's registrations takes no lock, since a child between fork and exec uses it.
 */
#include "registration.h"

#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "signals.h"
#include "signals_state.h"
#include "tick.h"

typedef struct row {
  _Atomic uint32_t version;
  _Atomic uintptr_t handler;
  _Atomic int flags;
  _Atomic uint64_t mask;
  _Atomic pid_t owner;
} row;

static row table[SS_SIGNALS];
static _Atomic uint64_t wrapped;
static atomic_flag writing = ATOMIC_FLAG_INIT;

/* Kept by us or handed on to the kernel; the other flags are done by our handler. */
enum { KERNEL_FLAGS = SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT };

#ifdef SS_NO_INTERPOSER
int ss_real_sigaction(int signo, const struct sigaction *action, struct sigaction *former) {
  return sigaction(signo, action, former);
}
#else
typedef int (*sigaction_function)(int, const struct sigaction *, struct sigaction *);
static _Atomic(sigaction_function) next_sigaction;

/* Early, while there is one thread: dlsym is nothing for a handler. [main thread; no; no] */
__attribute__((constructor)) static void find_next(void) {
  sigaction_function found;
  *(void **)&found = dlsym(RTLD_NEXT, "sigaction");
  atomic_store(&next_sigaction, found);
}

int ss_real_sigaction(int signo, const struct sigaction *action, struct sigaction *former) {
  if (!atomic_load(&next_sigaction)) find_next(); /* another library's constructor was first */
  sigaction_function next = atomic_load(&next_sigaction);
  if (next) return next(signo, action, former);
  errno = ENOSYS;
  return -1;
}
#endif

/* ---- the table ---- */

/* [any thread, also in a handler; no; no] */
static ss_guest_action read_row(int signo, pid_t *owner) {
  row *row = &table[signo];
  ss_guest_action action;
  uint32_t version;
  do {
    while ((version = atomic_load(&row->version)) & 1) sched_yield();
    action.handler = atomic_load(&row->handler);
    action.flags = atomic_load(&row->flags);
    action.mask = atomic_load(&row->mask);
    *owner = atomic_load(&row->owner);
  } while (atomic_load(&row->version) != version);
  return action;
}

/* [any thread, signals blocked, the lock held; no; no] */
static void write_row(int signo, const ss_guest_action *action, pid_t owner) {
  row *row = &table[signo];
  atomic_fetch_add(&row->version, 1);
  atomic_store(&row->handler, action->handler);
  atomic_store(&row->flags, action->flags);
  atomic_store(&row->mask, action->mask);
  atomic_store(&row->owner, owner);
  atomic_fetch_add(&row->version, 1);
}

int ss_registration_read(int signo, ss_guest_action *action, pid_t *owner) {
  *action = read_row(signo, owner);
  return (atomic_load(&wrapped) & SS_BIT(signo)) != 0;
}

uint64_t ss_registration_wrapped(void) { return atomic_load(&wrapped); }

void ss_registration_reset(int signo) {
  struct sigaction standard;
  memset(&standard, 0, sizeof standard);
  standard.sa_handler = SIG_DFL;
  ss_real_sigaction(signo, &standard, NULL);
  atomic_fetch_and(&wrapped, ~SS_BIT(signo));
}

void ss_registration_forget(pid_t owner) {
  for (int signo = 1; signo < SS_SIGNALS; signo++) {
    pid_t expected = owner;
    atomic_compare_exchange_strong(&table[signo].owner, &expected, 0);
  }
}

/* ---- registering ---- */

static uintptr_t handler_of(const struct sigaction *action) {
  return action->sa_flags & SA_SIGINFO ? (uintptr_t)action->sa_sigaction : (uintptr_t)action->sa_handler;
}

static int is_ours(const struct sigaction *action) { return handler_of(action) == (uintptr_t)ss_signals_handler; }

/* Our handler where the guest's is asked for; fills in what it replaces. 0 or an errno. [interpreter thread; no; no] */
static int install(int signo, const struct sigaction *action, struct sigaction *former, ss_guest_action *before) {
  ss_guest_action wanted = {handler_of(action), action->sa_flags, 0};
  memcpy(&wanted.mask, &action->sa_mask, sizeof wanted.mask);
  struct sigaction ours;
  memset(&ours, 0, sizeof ours);
  ours.sa_sigaction = ss_signals_handler;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (action->sa_flags & KERNEL_FLAGS);
  const uint64_t all = SS_BLOCKABLE;
  memcpy(&ours.sa_mask, &all, sizeof all);

  ss_signals *signals = &ss_signals_state;
  uint64_t mask = ss_set_mask(SIG_BLOCK, SS_BLOCKABLE);
  while (atomic_flag_test_and_set(&writing)) sched_yield();
  pid_t owner;
  *before = read_row(signo, &owner);
  write_row(signo, &wanted, signals->tid);
  int failed = ss_real_sigaction(signo, &ours, former) ? errno : 0;
  if (failed) {
    write_row(signo, before, owner);
  } else {
    atomic_fetch_or(&wrapped, SS_BIT(signo));
    signals->installed |= SS_BIT(signo);
  }
  atomic_flag_clear(&writing);
  ss_set_mask(SIG_SETMASK, mask);
  return failed;
}

int ss_signal_adopt(int signo) {
  if (!ss_thread_state.attached) return EPERM;
  if (signo < 1 || signo >= SS_SIGNALS || (SS_FAULTS & SS_BIT(signo)) || signo == ss_tick_signal()) return EINVAL;
  struct sigaction action, former;
  ss_guest_action before;
  if (ss_real_sigaction(signo, NULL, &action)) return errno;
  if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) return EINVAL;
  if (is_ours(&action)) {
    ss_signals_state.installed |= SS_BIT(signo);
    return 0;
  }
  return install(signo, &action, &former, &before);
}

#ifndef SS_NO_INTERPOSER

/* What a guest is shown in place of our handler. [interpreter thread; no; no] */
static void show(const ss_guest_action *guest, struct sigaction *former) {
  if (!is_ours(former)) return;
  memset(former, 0, sizeof *former);
  if (guest->flags & SA_SIGINFO)
    former->sa_sigaction = (void (*)(int, siginfo_t *, void *))guest->handler;
  else
    former->sa_handler = (void (*)(int))guest->handler;
  former->sa_flags = guest->flags;
  memcpy(&former->sa_mask, &guest->mask, sizeof guest->mask);
}

/* As asked for; notes whether our handler is in the kernel afterwards (whoever read it before may put it back).
   [any thread, also in a handler; no; no] */
static int pass(int signo, const struct sigaction *action, struct sigaction *former) {
  int result = ss_real_sigaction(signo, action, former);
  if (result || !action || signo < 1 || signo >= SS_SIGNALS) return result;
  if (is_ours(action))
    atomic_fetch_or(&wrapped, SS_BIT(signo));
  else
    atomic_fetch_and(&wrapped, ~SS_BIT(signo));
  return 0;
}

/* The C library's, for everything but guests. [any thread; no; no] */
int sigaction(int signo, const struct sigaction *restrict action, struct sigaction *restrict former) {
  const ss_thread *thread = &ss_thread_state;
  int guest = thread->attached && thread->place == SS_ON_FIBER && !thread->in_host;
  int fault = signo > 0 && signo < SS_SIGNALS && (SS_FAULTS & SS_BIT(signo)) != 0;
  if (guest && action && ((fault && thread->contain && signo != SIGSYS) || signo == ss_tick_signal())) {
    errno = EINVAL; /* they are ours */
    return -1;
  }
  if (!guest || fault || signo < 1 || signo >= SS_SIGNALS) return pass(signo, action, former);
  struct sigaction replaced;
  ss_guest_action before;
  if (!action || action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN || is_ours(action)) {
    pid_t owner;
    before = read_row(signo, &owner);
    if (pass(signo, action, &replaced)) return -1;
  } else {
    int failed = install(signo, action, &replaced, &before);
    if (failed) {
      errno = failed;
      return -1;
    }
  }
  show(&before, &replaced);
  if (former) *former = replaced;
  return 0;
}

static void (*set_handler(int signo, void (*handler)(int), int flags))(int) {
  struct sigaction action, former;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = flags;
  if (handler == SIG_ERR || sigaction(signo, &action, &former)) {
    if (handler == SIG_ERR) errno = EINVAL;
    return SIG_ERR;
  }
  return former.sa_handler;
}

/* The C library's, by way of the sigaction above. [any thread; no; no] */
void (*signal(int signo, void (*handler)(int)))(int) { return set_handler(signo, handler, SA_RESTART); }

void (*__sysv_signal(int signo, void (*handler)(int)))(int);

/* What signal() means in strict ISO C. [any thread; no; no] */
void (*__sysv_signal(int signo, void (*handler)(int)))(int) {
  return set_handler(signo, handler, (int)(SA_RESETHAND | SA_NODEFER));
}

#endif
