/* The crossings of crossing.h: each is its namesake in src/crossing, reached by way of way_in.h. */
#include "crossing.h"
#include "way_in.h"

ss_crossing ss_cross_host_call, ss_cross_host_answer, ss_cross_host_end, ss_cross_poll, ss_cross_object_release,
    ss_cross_function_id, ss_cross_return;

int64_t ss_host_call(uint32_t function, ss_value *args, uint32_t nargs, ss_call *call) {
  return ss_cross(function, (uintptr_t)args, nargs, (uintptr_t)call, ss_cross_host_call);
}

int64_t ss_host_answer(ss_call *call, int answer, ss_value *values, uint32_t count) {
  return ss_cross((uintptr_t)call, (uintptr_t)answer, (uintptr_t)values, count, ss_cross_host_answer);
}

void ss_host_give_back(ss_call *call) { ss_cross((uintptr_t)call, 0, 0, 0, ss_cross_host_end); }

int ss_poll(ss_call *call, int how) {
  int64_t status;
  do
    status = ss_cross((uintptr_t)call, (uintptr_t)how, 0, 0, ss_cross_poll);
  while (status == SS_CROSS_AGAIN);
  return (int)status;
}

void ss_object_release(uint64_t key) { ss_cross(key, 0, 0, 0, ss_cross_object_release); }

int64_t ss_function_id(const char *name) { return ss_cross((uintptr_t)name, 0, 0, 0, ss_cross_function_id); }

void ss_return(int status, ss_value *values, uint32_t count) {
  ss_cross((uintptr_t)status, (uintptr_t)values, count, 0, ss_cross_return);
}

/* What a fiber starts with: the worker's `start` block. [fiber; may suspend; does not raise] */
struct ss_start {
  void (*entry)(void *);
  void *run;
};

void ss_fiber_main(void *start) {
  struct ss_start *block = start;
  ss_leave_host(&ss_thread_state);
  block->entry(block->run);
  ss_enter_host(&ss_thread_state);
}
