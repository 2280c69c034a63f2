/* What needs more of Sidestack than the generated header: releasing a handle; a longjmp past a host call, after which the next call is an exported function's. */
#include <native.h>

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

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

#define CHECK(condition)                                                                                       \
  do {                                                                                                         \
    if (!(condition)) {                                                                                        \
      fprintf(stderr, "beyond.c:%d: %s; last error %s\n", __LINE__, #condition, sidestack_error_code()); \
      return __LINE__;                                                                                         \
    }                                                                                                          \
  } while (0)

#define FAILED_AS(what) (strcmp(sidestack_error_code(), what) == 0)

int64_t case_handles(int64_t gate);

/* (gate) */
int64_t case_handles(int64_t gate) {
  uint64_t counter = counter_new(5), second = counter_later(1), other = other_new();
  CHECK(counter && second && other && counter != second);
  CHECK(counter_add(counter, 2) == 7 && counter_add(counter, 1) == 8 && counter_add(second, 1) == 2);
  CHECK(counter_later(-1) == 0 && FAILED_AS("negative"));
  CHECK(counter_add(other, 1) == -1 && FAILED_AS("wrong_kind"));
  CHECK(counter_add(counter + ((uint64_t)1000 << 32), 1) == -1 && FAILED_AS("forged"));
  CHECK(counter_add(counter ^ (uint64_t)3 << 54, 1) == -1 && FAILED_AS("wrong_owner"));
  CHECK(counter_add_later(counter, gate) == 18);
  ss_object_release(counter);
  CHECK(counter_add(counter, 1) == -1 && FAILED_AS("stale"));
  CHECK(counter_add_later(counter, gate) == -1 && FAILED_AS("stale"));
  ss_object_release(counter);
  ss_object_release(other);
  CHECK(counter_add(second, 1) == 3);
  ss_object_release(second);
  return 0;
}

int64_t case_guest_call(int64_t unused);

/* A host function keeps a function of the guest's; an exported one that C called cannot call it. */
int64_t case_guest_call(int64_t unused) {
  (void)unused;
  ss_call call = {0};
  ss_value function = {.tag = SS_FUNCTION, .as.key = 1};
  CHECK(ss_host_call((uint32_t)ss_function_id("t.keep"), &function, 1, &call) == SS_OK);
  ss_host_end(&call);
  CHECK(call_kept() == -1 && FAILED_AS("cannot_call_guest_here"));
  CHECK(add(1, 2) == 3 && nap(1) == 0);
  return 0;
}
