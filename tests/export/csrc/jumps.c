/* A longjmp past a host call, after which the next call is an exported function's. */
#include <native.h>

#include <setjmp.h>

#include "exports.h"

int64_t jump_past_host_call(int64_t gate);

static __thread jmp_buf before;

static __attribute__((noinline)) void call_and_jump(void) {
  volatile unsigned char room[512];
  room[0] = 1;
  ss_call call = {0};
  ss_value function = {.tag = SS_FUNCTION, .as.key = 1};
  if (ss_host_call((uint32_t)ss_function_id("t.call"), &function, 1, &call) != SS_CALL_GUEST) return;
  /* Below the host call: what is called here is further in, and ends nothing. */
  if (nap(1) == 0 && add(room[0], 1) == 2) longjmp(before, 1);
}

/* (gate): the gate's value, -1 if it did not jump. */
int64_t jump_past_host_call(int64_t gate) {
  if (setjmp(before) == 0) {
    call_and_jump();
    return -1;
  }
  return at_gate(gate);
}
