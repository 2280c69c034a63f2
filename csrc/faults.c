/*
 * Containment of guests' faults.
 *
 * Handlers for SIGSEGV, SIGBUS, SIGFPE and SIGILL are installed once a process; those that were there before are kept.
 * A fault is the guest's if a fiber is current, the place is SS_ON_FIBER and host code does not run, whatever the stack
 * pointer is. All others go to the handler that was there before, as if ours were not.
 *
 * A guest's fault ends its fiber: the handler writes down what happened, sets in_host and changes the interrupted
 * context, so that the thread goes on in `leave`, on a small stack kept for that. There the fiber suspends, as in a host
 * call, and is never resumed. The worker, which finds `faulted` set, gives up the interpreter with all that is on its
 * stacks: nothing of it runs again, nothing is unwound.
 *
 * That is safe only if the code that is left behind holds no lock that others need. So these end the process, with a
 * report on stderr, by way of the handler that was there before:
 *
 * - a program counter inside the C library, the dynamic linker, the allocator or the C++ runtime, or while the allocator of
 *   guests' own heaps runs, wherever that is linked to. An overflow of the
 *   fiber's stack there is stepped out of first: the guard is opened, and the thread goes on, one instruction at a time,
 *   until it is back in other code, where the fault is contained. So a function that overflows in printf() leaves no
 *   lock behind;
 * - a fault on the alternate stack, in a guest's own signal handler: what it interrupted may be anything.
 *
 * What cannot be seen: guest code that the C library calls back while it holds a lock (a stream of fopencookie()).
 *
 * abort() is defined here, before the C library's. Called by guest code, after a handler that the guest may have for
 * SIGABRT has returned, it is a fault like the others. What the C library itself aborts for (a broken heap) ends the process.
 */
#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "registration.h"
#include "signals.h"
#include "signals_state.h"
#include "way_in.h"

#ifndef MADV_GUARD_REMOVE
#define MADV_GUARD_REMOVE 103 /* Linux 6.13 */
#endif

#ifndef SS_NO_INTERPOSER

static const int CONTAINED[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};

/* Stepping takes about a microsecond an instruction: 10 s. */
enum { STEPS = 10000000 };

/* EFLAGS: trap, direction, alignment check. */
enum { TRAP_FLAG = 0x100, DIRECTION_FLAG = 0x400, ALIGNMENT_FLAG = 0x40000 };

static pthread_mutex_t installing = PTHREAD_MUTEX_INITIALIZER;
static int installed;
static struct sigaction before[SS_SIGNALS]; /* ours: what was there */

/* Guest code runs, on a thread that contains its faults. [any, also in a handler; no; no] */
static int guest_runs(const ss_thread *thread) {
  return thread->attached && thread->contain && thread->place == SS_ON_FIBER && !thread->in_host && thread->fiber;
}

static int on_alternate_stack(const ss_signals *signals, uintptr_t stack) {
  return stack >= (uintptr_t)signals->stack && stack < (uintptr_t)signals->fault_stack;
}

/* The rest of a fiber that has faulted. [fiber, on the fault stack, in-host; suspends for ever; no] */
static void leave(ss_thread *thread) {
  ss_cross_suspend(thread, SS_CALLERS_FRAME, SS_RETURNS_TO);
  __builtin_trap(); /* the worker never resumes it */
}

/* What may hold a lock, or be half done, where the thread is now; or NULL. [interpreter thread, in the handler; no; no] */
static const char *locks_at(const ss_thread *thread, uintptr_t pc) {
  return thread->allocating ? "the allocator of guests' heaps" : ss_fault_locks(pc);
}

/* ---- what was there before ---- */

/* As the handler before ours would do. [any thread, in the handler; no; as it may] */
static void hand_on(int signo, siginfo_t *info, void *context) {
  const struct sigaction *former = &before[signo];
  if (former->sa_handler == SIG_IGN && info->si_code <= 0) return;
  if (former->sa_handler == SIG_DFL || former->sa_handler == SIG_IGN) {
    ss_registration_reset(signo);
    /* A fault happens again; what was sent, and a breakpoint, does not. */
    if (info->si_code <= 0 || signo == SIGTRAP) syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), signo, info);
    return;
  }
  /* It is the host's, and may register what it likes. */
  ss_thread *thread = &ss_thread_state;
  int in_host = thread->in_host;
  thread->in_host = 1;
  SS_BARRIER();
  if (former->sa_flags & SA_SIGINFO)
    former->sa_sigaction(signo, info, context);
  else
    former->sa_handler(signo);
  SS_BARRIER();
  thread->in_host = in_host;
}

/* ---- containing ---- */

static void set_mask_of(ucontext_t *context, uint64_t mask) { memcpy(&context->uc_sigmask, &mask, sizeof mask); }

/* The thread goes on in `leave` when the handler returns. [interpreter thread, in the handler; no; no] */
static void contain(ss_thread *thread, ss_signals *signals, ucontext_t *context) {
  thread->in_host = 1;
  thread->faulted = 1;
  signals->steps = 0;
  greg_t *registers = context->uc_mcontext.gregs;
  registers[REG_RIP] = (greg_t)(uintptr_t)leave;
  registers[REG_RSP] = (greg_t)((uintptr_t)signals->fault - 8); /* as after a call */
  registers[REG_RBP] = 0;
  registers[REG_RDI] = (greg_t)(uintptr_t)thread;
  registers[REG_EFL] &= ~(greg_t)(TRAP_FLAG | DIRECTION_FLAG | ALIGNMENT_FLAG);
  if (context->uc_mcontext.fpregs) {
    /* No exception that is pending or unmasked may come up in host code. */
    context->uc_mcontext.fpregs->cwd = 0x37f;
    context->uc_mcontext.fpregs->swd = 0;
    context->uc_mcontext.fpregs->mxcsr = 0x1f80;
  }
  set_mask_of(context, signals->mask);
}

static uintptr_t register_of(const ucontext_t *context, int which) {
  return (uintptr_t)context->uc_mcontext.gregs[which];
}

/* [interpreter thread, also in a handler; no; no] */
static void note(ss_fault *fault, const ss_thread *thread, int signo, uintptr_t address) {
  fault->signo = signo;
  fault->address = address;
  fault->overflow = (signo == SIGSEGV || signo == SIGBUS) && address < thread->stack_limit &&
                    thread->stack_limit - address <= thread->stack_guard;
}

/* Opens the guard and goes on until the thread is out of the C library. [interpreter thread, in the handler; no; no] */
static int step_out(ss_thread *thread, ss_signals *signals, ucontext_t *context) {
  char *guard = (char *)(thread->stack_limit - thread->stack_guard);
  madvise(guard, thread->stack_guard, MADV_GUARD_REMOVE); /* one of the two does it: src/fiber/guard.rs */
  if (mprotect(guard, thread->stack_guard, PROT_READ | PROT_WRITE)) return 0;
  signals->steps = 1;
  context->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
  set_mask_of(context, SS_BLOCKABLE); /* `contain` opens it again */
  return 1;
}

/* A guest's fault: contained, or reported. [interpreter thread, in the handler; no; no] */
static int fault_of_guest(ss_thread *thread, ss_signals *signals, int signo, siginfo_t *info, ucontext_t *context) {
  uintptr_t pc = register_of(context, REG_RIP), stack = register_of(context, REG_RSP);
  ss_fault *fault = signals->fault;
  note(fault, thread, signo, (uintptr_t)info->si_addr);
  ss_snapshot_note(&fault->at, thread, pc, register_of(context, REG_RBP), stack);
  const char *locks = locks_at(thread, pc);
  if (on_alternate_stack(signals, stack)) {
    ss_fault_report(fault, "in a signal handler of the guest's", NULL);
    return 0;
  }
  if (locks) {
    if (fault->overflow && !signals->steps && step_out(thread, signals, context)) return 1;
    ss_fault_report(fault, "a lock may be held in", locks);
    return 0;
  }
  contain(thread, signals, context);
  return 1;
}

/* [any thread; no; no] */
static void handler(int signo, siginfo_t *info, void *context) {
  int saved = errno;
  ss_thread *thread = &ss_thread_state;
  /* What was sent, by kill() or raise(), is nobody's fault. */
  int guests = guest_runs(thread) && info->si_code > 0;
  if (!guests || !fault_of_guest(thread, &ss_signals_state, signo, info, context)) hand_on(signo, info, context);
  errno = saved;
}

/* One instruction of stepping out is done. [any thread; no; no] */
static void stepped(int signo, siginfo_t *info, void *context) {
  int saved = errno;
  ss_thread *thread = &ss_thread_state;
  ss_signals *signals = &ss_signals_state;
  if (!thread->attached || !signals->steps) {
    hand_on(signo, info, context);
  } else if (!locks_at(thread, register_of(context, REG_RIP))) {
    contain(thread, signals, context);
  } else if (++signals->steps > STEPS) {
    ss_fault_report(signals->fault, "it does not come out of", locks_at(thread, register_of(context, REG_RIP)));
    ss_registration_reset(SIGABRT);
    syscall(SYS_tgkill, getpid(), gettid(), SIGABRT);
    set_mask_of(context, 0);
  }
  errno = saved;
}

/* ---- abort() ---- */

typedef void (*abort_function)(void);

/* The C library's. [any thread; no; no] */
static __attribute__((noreturn)) void abort_process(void) {
  abort_function next;
  *(void **)&next = dlsym(RTLD_NEXT, "abort");
  if (next) next();
  ss_registration_reset(SIGABRT);
  raise(SIGABRT);
  _exit(127);
}

/* A guest's, contained. [fiber; suspends for ever; no] */
static __attribute__((noreturn)) void leave_now(ss_thread *thread, ss_signals *signals) {
  thread->in_host = 1;
  SS_BARRIER();
  thread->faulted = 1;
  ss_set_mask(SIG_SETMASK, signals->mask);
  /* On the fault stack: little may be left of this one. */
  __asm__ volatile(
      "mov %0, %%rsp\n\t"
      "xor %%ebp, %%ebp\n\t"
      "call *%1"
      :
      : "r"(signals->fault), "r"(leave), "D"(thread)
      : "memory");
  __builtin_unreachable();
}

/* The C library's, for all but guests. [any thread; no; no] */
void abort(void) {
  ss_thread *thread = &ss_thread_state;
  ss_signals *signals = &ss_signals_state;
  if (!guest_runs(thread)) abort_process();
  ss_guest_action action;
  pid_t owner;
  if (ss_registration_read(SIGABRT, &action, &owner)) raise(SIGABRT);
  uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
  note(signals->fault, thread, SIGABRT, 0);
  ss_snapshot_note(&signals->fault->at, thread, (uintptr_t)__builtin_return_address(0), *(uintptr_t *)frame, frame);
  if (on_alternate_stack(signals, frame)) {
    ss_fault_report(signals->fault, "in a signal handler of the guest's", NULL);
    thread->in_host = 1;
    abort_process();
  }
  leave_now(thread, signals);
}

/* ---- installing ---- */

/* 0 or an errno. [any thread, the lock held; no; no] */
static int install(int signo, void (*ours)(int, siginfo_t *, void *)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = ours;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  const uint64_t all = SS_BLOCKABLE;
  memcpy(&action.sa_mask, &all, sizeof all);
  if (ss_real_sigaction(signo, NULL, &before[signo])) return errno;
  return ss_real_sigaction(signo, &action, NULL) ? errno : 0;
}

int ss_faults_contain(void) {
  if (!ss_thread_state.attached) return EPERM;
  pthread_mutex_lock(&installing);
  int failed = 0;
  if (!installed) {
    for (size_t i = 0; !failed && i < sizeof CONTAINED / sizeof *CONTAINED; i++) failed = install(CONTAINED[i], handler);
    if (!failed) failed = install(SIGTRAP, stepped);
    installed = 1;
  }
  if (!failed) ss_fault_note_objects();
  pthread_mutex_unlock(&installing);
  if (!failed) ss_thread_state.contain = 1;
  return failed;
}

#else /* the sanitizer's handlers tell more than ours */

int ss_faults_contain(void) { return ENOTSUP; }

#endif

const ss_fault *ss_fault_read(void) { return ss_signals_state.fault; }
