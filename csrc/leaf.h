/*
 * Leaves: host functions that run on the fiber's stack, right where they are called (src/host/leaf.rs). They neither suspend
 * nor call C, own nothing and do not panic, so that nothing of a crossing is needed but the flag: guests' signals wait, and a
 * fault is the host's.
 */
#ifndef SIDESTACK_LEAF_H
#define SIDESTACK_LEAF_H

#include "crossing.h"
#include "signals.h"

enum { SS_LEAF_ARGS = 4 /* the most arguments that one takes */ };

/*
 * Runs a leaf; the number of its results, 0 or 1. SS_NO_LEAF: make the ordinary call, nothing has happened.
 * [fiber, any of its stacks; does not suspend; as a guest's handler may]
 */
static inline int ss_leaf_run(const ss_leaf *leaf, const ss_value *args, uint32_t nargs, ss_value *result) {
  ss_thread *thread = &ss_thread_state;
  if (__builtin_expect(thread->place != SS_ON_FIBER, 0)) return SS_NO_LEAF;
  ss_enter_host(thread);
  int count = leaf->run(leaf->data, args, nargs, result);
  ss_leave_host(thread);
  return count;
}

#endif
