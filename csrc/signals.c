/*
 * Deferral of guests' signals.
 *
 * ss_signals_handler stands in for every handler that a guest installed. It looks at `in_host` of the thread it runs
 * on:
 *
 *   0  guest code was interrupted: the guest's handler is called as the kernel would have called it.
 *   1  host code was interrupted: the signal is queued with its siginfo and the fiber that was current.
 *
 * On the return to C the queued signals of the fiber that is current are raised again, to this very thread, so that
 * the guest's handler gets a signal frame and a ucontext of its own. Signals of other fibers stay until theirs is
 * current, or has ended. Those that came while no fiber was current go to the next one that returns to C.
 *
 * Who writes. The queue belongs to its thread: its handlers, and thread code with all signals blocked. The handler is
 * installed with all signals in its mask, so that it is never interrupted by another one, and opens the mask only when
 * it calls the guest's. There is therefore no moment at which two writers meet; what is left are the moments at which
 * a signal finds a half-done *decision* of thread code:
 *
 * 1. Entering, before in_host = 1. It is guest code still, and treated so.
 * 2. Leaving, between in_host = 0 and the look at `pending`. A new signal might overtake queued ones of its number. So
 * the
 *    handler, finding in_host 0 and a real-time signal of the same number waiting, queues the new one behind it and raises
 *    all that waits itself. `pending` is then 0 when thread code looks.
 * 3. Draining. All signals are blocked while entries move from the queue to the kernel. One that arrives in between
 * sits
 *    in the kernel's queue *before* the ones we raise. Raised ones carry a mark in si_code and are counted by number
 *    (`inflight`); an unmarked real-time signal that arrives while some are in flight has overtaken them and is raised once
 *    more, marked, behind them. Each signal is moved at most once, so that this ends. A raised signal that somebody took
 *    away (sigwait, SIG_IGN) leaves the count too high: a cost, not an error, and the next drain corrects it.
 * 4. A raised signal that finds in_host 1 (another handler ran first and called the host): queued again.
 * 5. Switching. `pending` is counted while signals may come. A handler that changes the queue bumps `changes`, and the
 *    count is made again.
 * 6. A handler that leaves by longjmp, during a drain: an entry is off the queue before it is raised, and the mask that
 *    the guest's handler runs with is the one it would have had without us. Nothing is owed to the frame that is lost.
 *
 * Merging, as the kernel does it: a timer has one entry per fiber, which counts further expirations in si_overrun;
 * another standard signal (below SIGRTMIN) is pending once per fiber, the first one's siginfo stays; everything else
 * has an entry each. Standard signals are raised only when none of that number is pending in the kernel, which would
 * swallow ours: such an entry waits for the next round, or the next crossing.
 *
 * When the queue is full, the handler blocks guests' signals in the interrupted context, so that the kernel keeps
 * further ones. The next return to C, or the next switch, takes those over into a larger queue, as the fiber's that
 * was current.
 *
 * A signal sent to the process may land on any thread. Where no guest installed its handler, it is forwarded to the
 * interpreter thread that did last (marked, because the kernel refuses some si_codes between threads). Those that are
 * surely for this thread (SI_TKILL) are not. If that thread is gone, an interpreter thread takes it itself and any
 * other drops it. A timer with SIGEV_THREAD_ID on a thread that did not register its signal needs ss_signal_adopt
 * there.
 *
 * What is not promised: a deferred signal interrupts the host's system calls all the same (EINTR); forwarded ones keep
 * no order; past RLIMIT_SIGPENDING a forwarded signal is lost, while a deferred one waits for the next crossing.
 */
#include "signals.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "registration.h"
#include "signals_state.h"

__thread ss_signals ss_signals_state __attribute__((tls_model("initial-exec")));

/* ---- marks: where a siginfo that we sent comes from ---- */

/*
 * Added to si_code on the way through the kernel and taken off again. The sums are negative and unlike any code in use;
 * the kernel carries the whole siginfo of such codes, whatever its layout.
 */
enum { RAISED = -0x53100000, FORWARDED = -0x53200000, CODES = 0x8000 };

enum origin { FROM_OUTSIDE, FROM_QUEUE, FROM_THREAD };

/* Takes the mark off. [any; no; no] */
static enum origin unmark(siginfo_t *info) {
  int64_t code = info->si_code;
  if (code >= (int64_t)RAISED - CODES && code < (int64_t)RAISED + CODES) {
    info->si_code = (int)(code - RAISED);
    return FROM_QUEUE;
  }
  if (code >= (int64_t)FORWARDED - CODES && code < (int64_t)FORWARDED + CODES) {
    info->si_code = (int)(code - FORWARDED);
    return FROM_THREAD;
  }
  return FROM_OUTSIDE;
}

/* Sends a copy of `info` to a thread of this process. 0 or an errno. [any; no; no] */
static int send_marked(pid_t tid, const siginfo_t *info, int mark) {
  siginfo_t copy = *info;
  if (copy.si_code > -CODES && copy.si_code < CODES) copy.si_code += mark;
  return syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, info->si_signo, &copy) ? errno : 0;
}

uint64_t ss_set_mask(int how, uint64_t mask) {
  uint64_t former = 0;
  syscall(SYS_rt_sigprocmask, how, &mask, &former, sizeof mask);
  return former;
}

/* ---- the queue; all of it with signals blocked ---- */

static int is_timer(const siginfo_t *info) { return info->si_code == SI_TIMER; }

static int waits_for(const ss_deferred *entry, uint64_t fiber) { return entry->fiber == 0 || entry->fiber == fiber; }

void ss_signals_recount(ss_thread *thread, ss_signals *signals) {
  uint32_t waiting = 0;
  if (thread->fiber_id) {
    for (uint32_t i = 0; i < signals->count; i++) waiting += (uint32_t)waits_for(&signals->entries[i], thread->fiber_id);
    waiting += (signals->blocked != 0) + (signals->look_up != 0);
  }
  thread->pending = (int)waiting;
}

/* Whether `info` was merged into an entry of the same fiber. [interpreter thread; no; no] */
static int merge(ss_signals *signals, const siginfo_t *info, uint64_t fiber) {
  int timer = is_timer(info);
  if (!timer && info->si_signo >= SIGRTMIN) return 0;
  for (uint32_t i = 0; i < signals->count; i++) {
    ss_deferred *entry = &signals->entries[i];
    if (entry->info.si_signo != info->si_signo || entry->fiber != fiber || is_timer(&entry->info) != timer) continue;
    if (!timer) return 1;
    if (entry->info.si_timerid != info->si_timerid) continue;
    int64_t overrun = (int64_t)entry->info.si_overrun + info->si_overrun + 1;
    entry->info.si_overrun = overrun > INT_MAX ? INT_MAX : (int)overrun;
    return 1;
  }
  return 0;
}

enum queued { FULL, MERGED, ADDED };

/* Queues a signal, if there is room. [interpreter thread; no; no] */
static enum queued queue(ss_signals *signals, const siginfo_t *info, uint64_t fiber) {
  signals->changes++;
  ss_thread_state.deferred = 1;
  if (merge(signals, info, fiber)) return MERGED;
  if (signals->count == signals->capacity) return FULL;
  signals->entries[signals->count] = (ss_deferred){*info, fiber};
  signals->count++;
  return ADDED;
}

/* Doubles the queue; 0 if there is no memory. Not for handlers. [interpreter thread; no; no] */
static int grow(ss_signals *signals) {
  size_t size = signals->entries_size * 2;
  void *entries = mremap(signals->entries, signals->entries_size, size, MREMAP_MAYMOVE);
  if (entries == MAP_FAILED) return 0;
  signals->entries = entries;
  signals->entries_size = size;
  signals->capacity = (uint32_t)(size / sizeof(ss_deferred));
  return 1;
}

/* Takes over what the kernel kept while the queue was full; returns the signals to unblock. [interpreter thread; no; no] */
static uint64_t take_over(ss_signals *signals, uint64_t fiber) {
  uint64_t blocked = signals->blocked;
  const struct timespec now = {0, 0};
  siginfo_t info;
  while (blocked) {
    if (signals->count == signals->capacity && !grow(signals)) return 0;
    long signo = syscall(SYS_rt_sigtimedwait, &blocked, &info, &now, sizeof blocked);
    if (signo <= 0) break;
    if (unmark(&info) == FROM_QUEUE && signals->inflight[signo]) signals->inflight[signo]--;
    queue(signals, &info, fiber);
  }
  signals->blocked = 0;
  return blocked;
}

/* Raises what waits for the current fiber, in order; in_host is 0. [interpreter thread; no; no] */
static void raise_waiting(ss_thread *thread, ss_signals *signals) {
  uint64_t in_kernel = 0, refused = 0;
  syscall(SYS_rt_sigpending, &in_kernel, sizeof in_kernel);
  for (int signo = SIGRTMIN; signo < SS_SIGNALS; signo++)
    if (!(in_kernel & SS_BIT(signo))) signals->inflight[signo] = 0;
  uint64_t wrapped = ss_registration_wrapped();
  uint32_t kept = 0, count = signals->count;
  for (uint32_t i = 0; i < count; i++) {
    ss_deferred *entry = &signals->entries[i];
    int signo = entry->info.si_signo;
    uint64_t bit = SS_BIT(signo);
    int keep = !waits_for(entry, thread->fiber_id) || (refused & bit) || (signo < SIGRTMIN && (in_kernel & bit));
    if (!keep) {
      if (!(wrapped & bit)) continue; /* the handler it was meant for is gone, and the default would end the process */
      if (send_marked(signals->tid, &entry->info, RAISED) == 0) {
        in_kernel |= bit;
        signals->inflight[signo]++;
        continue;
      }
      refused |= bit; /* and later ones may not overtake it */
    }
    if (kept != i) signals->entries[kept] = *entry;
    kept++;
  }
  signals->count = kept;
  signals->changes++;
  ss_signals_recount(thread, signals);
}

/* ---- the handler ---- */

/* Calls the guest's handler as the kernel would have. [any thread; no; as the handler may] */
static void run_guest(int signo, siginfo_t *info, void *context, const ss_guest_action *action) {
  uint64_t mask;
  memcpy(&mask, &((ucontext_t *)context)->uc_sigmask, sizeof mask);
  mask |= action->mask;
  if (!(action->flags & SA_NODEFER)) mask |= SS_BIT(signo);
  if (action->flags & SA_RESETHAND) ss_registration_reset(signo);
  ss_set_mask(SIG_SETMASK, mask);
  if (action->flags & SA_SIGINFO)
    ((void (*)(int, siginfo_t *, void *))action->handler)(signo, info, context);
  else
    ((void (*)(int))action->handler)(signo);
}

/* The queue is full: the kernel is to keep guests' signals from now on. [interpreter thread, in a handler; no; no] */
static void block_in(void *context, ss_signals *signals) {
  uint64_t mask;
  memcpy(&mask, &((ucontext_t *)context)->uc_sigmask, sizeof mask);
  uint64_t more = ss_registration_wrapped() & ~mask;
  signals->blocked |= more;
  signals->current = ss_thread_state.fiber_id;
  ss_thread_state.deferred = 1;
  signals->changes++;
  mask |= more;
  memcpy(&((ucontext_t *)context)->uc_sigmask, &mask, sizeof mask);
}

/* Whether a new signal has to wait behind older ones of its number. [interpreter thread, in a handler; no; no] */
static int overtakes(const ss_thread *thread, const ss_signals *signals, int signo) {
  if (signo < SIGRTMIN) return 0;
  if (signals->inflight[signo]) return 1;
  if (!thread->pending) return 0;
  for (uint32_t i = 0; i < signals->count; i++)
    if (signals->entries[i].info.si_signo == signo && waits_for(&signals->entries[i], thread->fiber_id)) return 1;
  return 0;
}

/* The handler's work on a thread that the signal is for. [interpreter thread; no; as the guest's handler may] */
static void receive(ss_thread *thread, int signo, siginfo_t *info, void *context, const ss_guest_action *action,
                    enum origin origin) {
  ss_signals *signals = &ss_signals_state;
  if (origin == FROM_QUEUE && signals->inflight[signo]) signals->inflight[signo]--;
  if (!thread->in_host) {
    if (origin != FROM_QUEUE && overtakes(thread, signals, signo) &&
        queue(signals, info, thread->fiber_id) != FULL) {
      raise_waiting(thread, signals);
      return;
    }
    run_guest(signo, info, context, action);
    return;
  }
  enum queued queued = queue(signals, info, thread->fiber_id);
  /* Counted on, not again: the queue may have grown long. */
  if (queued == ADDED && thread->fiber_id) thread->pending = thread->pending + 1;
  if (signals->count < signals->capacity) return;
  block_in(context, signals);
  ss_signals_recount(thread, signals);
  /* Host code opened the mask although it was full: back to the kernel, which keeps it now that it is blocked. */
  if (queued == FULL) send_marked(signals->tid, info, FORWARDED);
}

void ss_signals_handler(int signo, siginfo_t *info, void *context) {
  int saved = errno;
  ss_thread *thread = &ss_thread_state;
  ss_guest_action action;
  pid_t owner = 0;
  enum origin origin = unmark(info);
  if (ss_registration_read(signo, &action, &owner)) {
    int here = thread->attached && ((ss_signals_state.installed & SS_BIT(signo)) || origin != FROM_OUTSIDE ||
                                    info->si_code == SI_TKILL || owner == 0);
    if (here)
      receive(thread, signo, info, context, &action, origin);
    else if (owner && origin == FROM_OUTSIDE)
      send_marked(owner, info, FORWARDED);
  }
  errno = saved;
}

/* ---- thread code ---- */

void ss_signal_drain(ss_thread *thread) {
  ss_signals *signals = &ss_signals_state;
  int saved = errno;
  /* Bounded: what is left over (standard signals of which the kernel holds one, blocked by the guest) waits. */
  for (int round = 0; thread->pending && round < 4; round++) {
    uint64_t mask = ss_set_mask(SIG_BLOCK, SS_BLOCKABLE);
    int look_up = signals->look_up;
    signals->look_up = 0;
    mask &= ~take_over(signals, thread->fiber_id);
    raise_waiting(thread, signals);
    if (look_up && thread->interrupt && thread->guest_interrupt) thread->guest_interrupt();
    ss_set_mask(SIG_SETMASK, mask); /* the raised ones arrive in here */
  }
  errno = saved;
}

void ss_signal_switch(ss_thread *thread) {
  ss_signals *signals = &ss_signals_state;
  if (__builtin_expect(signals->blocked != 0, 0)) {
    uint64_t mask = ss_set_mask(SIG_BLOCK, SS_BLOCKABLE);
    mask &= ~take_over(signals, signals->current);
    ss_set_mask(SIG_SETMASK, mask);
  }
  signals->look_up = 0;
  thread->deferred = 0;
  SS_BARRIER(); /* a handler sets it again */
  if (signals->count || signals->blocked) thread->deferred = 1;
  uint64_t seen;
  do {
    seen = signals->changes;
    SS_BARRIER();
    ss_signals_recount(thread, signals);
    SS_BARRIER();
  } while (seen != signals->changes);
}

uint64_t ss_signal_fiber_end(ss_thread *thread, uint64_t fiber_id) {
  ss_signals *signals = &ss_signals_state;
  if (signals->count == 0 && signals->blocked == 0) return 0; /* and none can come: the fiber is not current */
  uint64_t dropped = 0, mask = ss_set_mask(SIG_BLOCK, SS_BLOCKABLE);
  if (signals->blocked) mask &= ~take_over(signals, signals->current);
  uint32_t kept = 0, count = signals->count;
  for (uint32_t i = 0; i < count; i++) {
    ss_deferred *entry = &signals->entries[i];
    if (entry->fiber == fiber_id) {
      dropped += 1 + (is_timer(&entry->info) ? (uint64_t)entry->info.si_overrun : 0);
      continue;
    }
    if (kept != i) signals->entries[kept] = *entry;
    kept++;
  }
  signals->count = kept;
  ss_signals_recount(thread, signals);
  ss_set_mask(SIG_SETMASK, mask);
  return dropped;
}

uint64_t ss_mask_enter(void) { return ss_set_mask(SIG_BLOCK, SS_BLOCKABLE); }

void ss_mask_leave(uint64_t former) { ss_set_mask(SIG_SETMASK, former); }
