/* Calls on the host's thread pool (ss_work). The host holds one while its future or the pool has it, the hook while it waits. */
#include <errno.h>
#include <stdlib.h>

#include "hooks.h"

enum { NEW, RUNS, DONE };

void *ss_work_new(size_t size, void (*run)(ss_work *), void (*forget)(ss_work *)) {
  ss_work *work = calloc(1, size);
  if (!work) return NULL;
  work->run = run;
  work->forget = forget;
  work->holders = 1;
  return work;
}

void ss_work_hold(ss_work *work) { __atomic_add_fetch(&work->holders, 1, __ATOMIC_RELAXED); }

void ss_work_end(ss_work *work) {
  if (__atomic_sub_fetch(&work->holders, 1, __ATOMIC_ACQ_REL)) return;
  if (work->forget) work->forget(work);
  free(work);
}

void ss_work_run(ss_work *work) {
  uint32_t expected = NEW;
  if (!__atomic_compare_exchange_n(&work->state, &expected, RUNS, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return;
  work->run(work);
  __atomic_store_n(&work->state, DONE, __ATOMIC_RELEASE);
}

/* Where the fiber cannot be suspended, this thread blocks. A pool that has begun the call is waited for. [fiber; no; no] */
static void run_here(ss_work *work) {
  uint64_t former = ss_hooks_hold_ticks();
  ss_work_run(work);
  while (__atomic_load_n(&work->state, __ATOMIC_ACQUIRE) != DONE)
    SS_NEXT(nanosleep)(&(struct timespec){0, SS_SECOND / 1000}, NULL);
  ss_hooks_release_ticks(former);
}

int ss_hooks_work(ss_work *work) {
  int64_t function = ss_hooks_function(SS_HOOKS_WORK);
  int refused = 1;
  if (function >= 0 && !ss_hooks_in_handler()) {
    ss_value arg = {SS_INT, 0, {.integer = (int64_t)(intptr_t)work}};
    ss_call call = {0};
    int status = ss_host_call((uint32_t)function, &arg, 1, &call);
    if (status == SS_OK) {
      ss_host_end(&call);
      return 1;
    }
    refused = ss_hooks_refused(&call, status);
  }
  if (refused) {
    run_here(work);
    return 1;
  }
  errno = ECANCELED;
  return 0;
}
