/*
 * Snapshots. All that reads runs in signal handlers too, with the heap and the stack in any state: memory is read through the
 * kernel, which checks, and nothing is allocated.
 *
 * Asking: one asker at a time, with one place for the answer.
 *
 *   IDLE ── ask: `asked` is set, the signal sent ──► ASKED ── the handler on that thread ──► WRITING ──► DONE ── taken ──► IDLE
 *                                                      └── no answer in time: the asker takes it back ──► IDLE
 *
 * A handler that comes late finds IDLE, or ASKED for another thread, and does nothing.
 */
#include "snapshot.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "faults.h"
#include "tick.h"

enum { FRAME_LIMIT = 1 << 26 /* a frame larger than that is none */, SCANNED = 8192 /* bytes */ };

/* ---- the walk ---- */

/* Two words from anywhere; 0 if they cannot be read. [any, also in a handler; no; no] */
static int peek(uintptr_t address, uintptr_t words[2]) {
  return ss_fault_copy(words, (const void *)address, 2 * sizeof *words);
}

/* Appends the return addresses from `frame` outwards. [any, also in a handler; no; no] */
static uint32_t walk(uintptr_t frame, uintptr_t limit, uintptr_t base, uintptr_t *frames, uint32_t depth) {
  uintptr_t words[2];
  int inside = frame >= limit && frame < base;
  while (depth < SS_FRAMES && frame && frame % sizeof frame == 0 && peek(frame, words) && words[1]) {
    frames[depth++] = words[1];
    uintptr_t outer = words[0];
    if (outer <= frame || outer - frame > FRAME_LIMIT) break;
    if (inside && outer >= base) break;
    frame = outer;
  }
  return depth;
}

enum { VDSO_BYTES = 16384 };

/* Code that is compiled with frame pointers, as far as can be told: that of the C library and its like, and the kernel's, is
   not. [any, also in a handler; no; no] */
static int has_frames(uintptr_t pc) {
  return ss_fault_object(pc) && !ss_fault_locks(pc) && pc - getauxval(AT_SYSINFO_EHDR) >= VDSO_BYTES;
}

/* Whether a call instruction ends at `address`. [any, also in a handler; no; no] */
static int is_after_call(uintptr_t address) {
  unsigned char bytes[6];
  if (!ss_fault_copy(bytes, (const void *)(address - sizeof bytes), sizeof bytes)) return 0;
  return bytes[1] == 0xe8 || (bytes[0] == 0xff && bytes[1] == 0x15) || (bytes[4] == 0xff && (bytes[5] & 0xf8) == 0xd0);
}

/* Where code without frames was called from: the first address on the stack, up to the first frame, that it may return to; 0:
   not found. [any, also in a handler; no; no] */
static uintptr_t called_from(uintptr_t stack, uintptr_t frame) {
  uintptr_t word;
  for (uintptr_t at = stack; at < frame && at < stack + SCANNED; at += sizeof at)
    if (ss_fault_copy(&word, (const void *)at, sizeof word) && has_frames(word) && is_after_call(word)) return word;
  return 0;
}

/* Where every fiber begins (crossing.c); its code is not longer than this. */
void ss_fiber_main(void *start);
enum { MAIN_BYTES = 256 };

/* The frames from `address` outwards, if they lead to where the fiber began; else 0. [any, also in a handler; no; no] */
static int count_frames(uintptr_t address, uintptr_t base) {
  uintptr_t words[2];
  for (int count = 1; address % sizeof address == 0 && address < base && peek(address, words); count++) {
    if (words[1] - (uintptr_t)ss_fiber_main < MAIN_BYTES) return count;
    if (!has_frames(words[1]) || words[0] <= address) return 0;
    address = words[0];
  }
  return 0;
}

/*
 * Where to begin. Innermost may be code without frame pointers, with anything in the register. Then what looks like a frame is
 * looked for on the stack. What calls before left there, in buffers that nobody has filled yet, looks so too: of all, the one
 * with the most frames further out is taken, since what is in use holds all of those. [any, also in a handler; no; no]
 */
static uintptr_t first_frame(uintptr_t frame, uintptr_t stack, uintptr_t base) {
  int most = 0;
  for (uintptr_t at = stack; at < base && at < stack + SCANNED; at += sizeof at) {
    int count = count_frames(at, base);
    if (count > most) most = count, frame = at;
  }
  return frame;
}

uint32_t ss_snapshot_frames(uintptr_t frame, uintptr_t limit, uintptr_t base, uintptr_t frames[SS_FRAMES]) {
  return walk(frame, limit, base, frames, 0);
}

void ss_snapshot_note(ss_snapshot *snapshot, const ss_thread *thread, uintptr_t pc, uintptr_t frame, uintptr_t stack) {
  uintptr_t limit = thread->stack_limit, base = thread->stack_base, words[2];
  snapshot->fiber = thread->fiber_id;
  snapshot->in_host = thread->place != SS_ON_FIBER;
  snapshot->depth = 0;
  snapshot->script[0] = '\0';
  if (!thread->fiber) return;
  if (snapshot->in_host) {
    snapshot->depth = walk(thread->frame, limit, base, snapshot->frames, 0);
  } else {
    int on_fiber = stack >= limit && stack < base;
    snapshot->frames[snapshot->depth++] = pc;
    /* A call of a pointer to nowhere: who called is on top of the stack. */
    if (!ss_fault_object(pc) && peek(stack, words)) snapshot->frames[snapshot->depth++] = words[0];
    if (on_fiber && ss_fault_object(pc) && !has_frames(pc) && stack % sizeof stack == 0) {
      frame = first_frame(frame, stack, base);
      uintptr_t caller = called_from(stack, frame);
      if (caller) snapshot->frames[snapshot->depth++] = caller;
    }
    snapshot->depth = walk(frame, limit, base, snapshot->frames, snapshot->depth);
  }
  if (thread->guest_where) thread->guest_where(snapshot->script, sizeof snapshot->script);
}

/* ---- asking ---- */

enum { IDLE, ASKED, WRITING, DONE };

static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int state;
static _Atomic pid_t asked; /* whom */
static ss_snapshot answer;  /* written in WRITING, read in DONE */

int ss_snapshot_asked(const ss_thread *thread, const void *value, const void *context) {
  if (value != &answer) return 0;
  int expected = ASKED;
  if (atomic_load(&asked) != gettid() || !atomic_compare_exchange_strong(&state, &expected, WRITING)) return 1;
  const greg_t *registers = ((const ucontext_t *)context)->uc_mcontext.gregs;
  ss_snapshot_note(&answer, thread, (uintptr_t)registers[REG_RIP], (uintptr_t)registers[REG_RBP],
                   (uintptr_t)registers[REG_RSP]);
  atomic_store(&state, DONE);
  return 1;
}

/* Waits for the answer. [any thread; no; no] */
static int wait_for_answer(uint64_t nanoseconds) {
  const uint64_t step = 50000;
  const struct timespec pause = {0, (long)step};
  for (uint64_t waited = 0; atomic_load(&state) != DONE; waited += step) {
    int expected = ASKED;
    if (waited >= nanoseconds && atomic_compare_exchange_strong(&state, &expected, IDLE)) return ETIMEDOUT;
    nanosleep(&pause, NULL);
  }
  return 0;
}

int ss_snapshot_take(pid_t thread, uint64_t nanoseconds, ss_snapshot *out) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = ss_tick_signal();
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_ptr = &answer;
  pthread_mutex_lock(&asking);
  atomic_store(&asked, thread);
  atomic_store(&state, ASKED);
  int failed = syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, info.si_signo, &info) ? errno : 0;
  if (!failed) failed = wait_for_answer(nanoseconds);
  if (!failed) *out = answer;
  atomic_store(&state, IDLE);
  pthread_mutex_unlock(&asking);
  return failed;
}
