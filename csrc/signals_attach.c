/* A thread becomes an interpreter thread: its alternate signal stack, its queue of deferred signals, its tick. */
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "registration.h"
#include "signals.h"
#include "signals_state.h"
#include "tick.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* For the handlers' own frames; the kernel's (12 KB and more with wide registers) are added four deep. */
enum { STACK_BYTES = 64 * 1024, NESTED_FRAMES = 4 };

/* For giving up the thread after a fault, and for a handler without SA_ONSTACK that comes just then. */
enum { FAULT_STACK_BYTES = 64 * 1024 };

static size_t round_up(size_t size, size_t page) { return (size + page - 1) / page * page; }

/* Unmaps what attach mapped. [interpreter thread; no; no] */
static void unmap(ss_signals *signals) {
  if (signals->stack) munmap(signals->stack, signals->stack_size);
  if (signals->entries) munmap(signals->entries, signals->entries_size);
  signals->stack = NULL;
  signals->entries = NULL;
}

/* Maps the queue and the stack, with a page below it that no one may touch. 0 or an errno. [any thread; no; no] */
static int map(ss_signals *signals) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  signals->entries_size = round_up(SS_QUEUE_ENTRIES * sizeof(ss_deferred), page);
  void *entries =
      mmap(NULL, signals->entries_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (entries == MAP_FAILED) return errno;
  signals->entries = entries;
  signals->capacity = SS_QUEUE_ENTRIES;

  size_t usable = round_up(STACK_BYTES + NESTED_FRAMES * (size_t)getauxval(AT_MINSIGSTKSZ), page);
  signals->stack_size = page + usable + FAULT_STACK_BYTES + round_up(sizeof(ss_fault), page);
  void *stack = mmap(NULL, signals->stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return errno;
  signals->stack = stack;
  if (mprotect(stack, page, PROT_NONE)) return errno;
  stack_t alternate;
  memset(&alternate, 0, sizeof alternate);
  alternate.ss_sp = (char *)stack + page;
  alternate.ss_size = usable;
  signals->fault_stack = (char *)alternate.ss_sp + usable;
  signals->fault = (ss_fault *)((char *)signals->fault_stack + FAULT_STACK_BYTES);
  return sigaltstack(&alternate, &signals->former_stack) ? errno : 0;
}

int ss_signal_attach(void) {
  ss_thread *thread = &ss_thread_state;
  ss_signals *signals = &ss_signals_state;
  if (thread->attached) return EALREADY;
  memset(signals, 0, sizeof *signals);
  signals->tid = gettid();
  signals->mask = ss_set_mask(SIG_BLOCK, 0);
  int failed = map(signals);
  if (failed) {
    unmap(signals);
    return failed;
  }
  failed = ss_tick_create();
  if (failed) {
    sigaltstack(&signals->former_stack, NULL);
    unmap(signals);
    return failed;
  }
  memset(thread, 0, sizeof *thread);
  thread->deadline = UINT64_MAX;
  thread->alarm = UINT64_MAX;
  thread->in_host = 1;
  SS_BARRIER(); /* a handler that finds `attached` finds the rest */
  thread->attached = 1;
  return 0;
}

void ss_signal_detach(void) {
  ss_thread *thread = &ss_thread_state;
  ss_signals *signals = &ss_signals_state;
  if (!thread->attached) return;
  uint64_t mask = ss_set_mask(SIG_BLOCK, SS_BLOCKABLE) & ~signals->blocked;
  ss_tick_delete();
  ss_registration_forget(signals->tid);
  memset(thread, 0, sizeof *thread);
  sigaltstack(&signals->former_stack, NULL);
  unmap(signals);
  memset(signals, 0, sizeof *signals);
  ss_set_mask(SIG_SETMASK, mask); /* what arrives now finds `attached` 0 */
}
