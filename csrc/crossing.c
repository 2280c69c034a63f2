/* The crossings of crossing.h: each is its namesake in src/crossing, reached by way of way_in.h. */
#include "crossing.h"
#include "way_in.h"

/* Defined in src/crossing. [as their namesakes in crossing.h; the flag is set] */
int ss_cross_host_call(ss_thread *, uint32_t, ss_value *, uint32_t, ss_call *);
int ss_cross_host_answer(ss_thread *, ss_call *, int, ss_value *, uint32_t);
void ss_cross_host_end(ss_thread *, ss_call *);
int ss_cross_poll(ss_thread *, ss_call *, int);
void ss_cross_object_release(ss_thread *, uint64_t);
int64_t ss_cross_function_id(ss_thread *, const char *);
void ss_cross_return(ss_thread *, int, ss_value *, uint32_t);

int ss_host_call(uint32_t function, ss_value *args, uint32_t nargs, ss_call *call) {
  int status;
  CROSSING(outermost, status = ss_cross_host_call(thread, function, args, nargs, call));
  return status;
}

int ss_host_answer(ss_call *call, int answer, ss_value *values, uint32_t count) {
  int status;
  CROSSING(outermost, status = ss_cross_host_answer(thread, call, answer, values, count));
  return status;
}

void ss_host_end(ss_call *call) {
  if (call->reply)
    CROSSING(outermost, ss_cross_host_end(thread, call));
}

int ss_poll(ss_call *call, int finalizer) {
  int status;
  CROSSING(outermost, status = ss_cross_poll(thread, call, finalizer));
  return status;
}

void ss_object_release(uint64_t key) { CROSSING(outermost, ss_cross_object_release(thread, key)); }

int64_t ss_function_id(const char *name) {
  int64_t id;
  CROSSING(outermost, id = ss_cross_function_id(thread, name));
  return id;
}

void ss_return(int status, ss_value *values, uint32_t count) {
  CROSSING(outermost, ss_cross_return(thread, status, values, count));
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
