/*
 * Plain C functions that run on fibers: what a C library that knows nothing of fibers might do with the host. Numbers of host
 * functions come as arguments.
 */
#include <native.h>

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

/* The last error's code, of this thread. */
static __thread char last_code[64];
/* The last error's message; a result may point to it. */
static __thread char last_message[256];

static void keep(char *to, size_t size, const ss_value *from) {
  size_t len = from->tag == SS_STRING ? from->len : 0;
  if (len >= size) len = size - 1;
  if (len) memcpy(to, from->as.bytes, len);
  to[len] = '\0';
}

/* What every shim does after a host call; guest calls are answered by the caller. */
static int finish(ss_call *call, int status, int64_t *out) {
  if (status == SS_OK && out) *out = call->count && call->values[0].tag == SS_INT ? call->values[0].as.integer : 0;
  if (status == SS_ERROR) {
    keep(last_code, sizeof last_code, &call->values[0]);
    keep(last_message, sizeof last_message, &call->values[1]);
  }
  ss_host_end(call);
  return status;
}

static int call_int(uint32_t id, int64_t argument, int64_t *out) {
  ss_call call = {0};
  ss_value value = {.tag = SS_INT, .as.integer = argument};
  return finish(&call, ss_host_call(id, &value, 1, &call), out);
}

static int text(ss_value *result, const char *string) {
  *result = (ss_value){.tag = SS_STRING, .len = (uint32_t)strlen(string), .as.bytes = string};
  return SS_OK;
}

static int number(ss_value *result, int64_t value) {
  *result = (ss_value){.tag = SS_INT, .as.integer = value};
  return SS_OK;
}

/* The end of a run after a host call: its number, its error, or the kill. */
static int outcome(int status, int64_t value, ss_value *result) {
  if (status == SS_OK) return number(result, value);
  if (status == SS_ERROR) text(result, last_message);
  return status;
}

/* ---- host code calls C that calls the host ---- */

/* For the host's own use: calls the host function `id` from wherever this is called; 0, or the error's code. */
const char *guests_call_back(uint32_t id, int64_t argument, int64_t *out) {
  int status = call_int(id, argument, out);
  return status == SS_OK ? NULL : status == SS_ERROR ? last_code : "other";
}

/* The same with a function of the guest's as the argument. */
const char *guests_call_back_with_function(uint32_t id) {
  ss_call call = {0};
  ss_value value = {.tag = SS_FUNCTION, .as.key = 7};
  int status = finish(&call, ss_host_call(id, &value, 1, &call), NULL);
  return status == SS_OK ? NULL : status == SS_ERROR ? last_code : "other";
}

/* (id, argument) → the host function's result. */
int guests_call(ss_value *args, uint32_t nargs, ss_value *result) {
  int64_t value = 0;
  int status = call_int((uint32_t)args[0].as.integer, nargs > 1 ? args[1].as.integer : 0, &value);
  return outcome(status, value, result);
}

/* ---- stacks ---- */

static void fill(volatile unsigned char *bytes, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)((i * 31 + seed) >> 3);
}

static int intact(const volatile unsigned char *bytes, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i++)
    if (bytes[i] != (unsigned char)((i * 31 + seed) >> 3)) return 0;
  return 1;
}

/* (id, gate): waits with 4 KiB of pattern on the stack. */
int guests_pattern(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  volatile unsigned char bytes[4096];
  unsigned seed = (unsigned)args[1].as.integer * 977;
  fill(bytes, sizeof bytes, seed);
  int64_t value = 0;
  int status = call_int((uint32_t)args[0].as.integer, args[1].as.integer, &value);
  if (!intact(bytes, sizeof bytes, seed)) return text(result, "the stack was changed"), SS_ERROR;
  return outcome(status, value, result);
}

enum { SMALL_STACK = 64 * 1024 };

typedef struct other_stack {
  ucontext_t own, outer;
  void *memory;
  ss_value *args;
  int status;
  int64_t value;
} other_stack;

static void start_on(other_stack *other, void (*body)(int, int), size_t size) {
  uintptr_t address = (uintptr_t)other;
  other->memory = malloc(size);
  getcontext(&other->own);
  other->own.uc_stack.ss_sp = other->memory;
  other->own.uc_stack.ss_size = size;
  other->own.uc_link = &other->outer;
  makecontext(&other->own, (void (*)(void))body, 2, (int)(uint32_t)address, (int)(uint32_t)(address >> 32));
}

static other_stack *other_of(int low, int high) {
  return (other_stack *)((uintptr_t)(uint32_t)low | (uintptr_t)(uint32_t)high << 32);
}

static void wait_there(int low, int high) {
  other_stack *other = other_of(low, high);
  ss_value result;
  ss_value args[2] = {other->args[0], other->args[1]};
  for (int i = 0; i < 3; i++) {
    other->status = guests_pattern(args, 2, &result);
    if (other->status != SS_OK) return;
    other->value += result.as.integer;
    args[1].as.integer++;
  }
}

/* (id, gate): waits at three gates in a row, on a stack of 64 KiB that C made. */
int guests_small_stack(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  other_stack other = {.args = args};
  start_on(&other, wait_there, SMALL_STACK);
  swapcontext(&other.outer, &other.own);
  free(other.memory);
  return outcome(other.status, other.value, result);
}

/* One host call that calls back, in halves, so that another one can come in between. */
static int begin_call(uint32_t id, uint64_t function, ss_call *call) {
  memset(call, 0, sizeof *call);
  ss_value value = {.tag = SS_FUNCTION, .as.key = function};
  return ss_host_call(id, &value, 1, call);
}

static int end_call(ss_call *call, int64_t answer, int64_t *out) {
  ss_value value = {.tag = SS_INT, .as.integer = answer};
  return finish(call, ss_host_answer(call, SS_OK, &value, 1), out);
}

static void second_call(int low, int high) {
  other_stack *other = other_of(low, high);
  ss_call call;
  other->status = begin_call((uint32_t)other->args[0].as.integer, 2, &call);
  if (other->status != SS_CALL_GUEST) {
    finish(&call, other->status, NULL);
    return;
  }
  swapcontext(&other->own, &other->outer); /* the second call's function hands over to the first one's */
  other->status = end_call(&call, 20, &other->value);
}

/*
 * (id): the host function calls a guest function, which switches to another stack and makes the same host call there, whose guest function
 * switches back: the first entered is the first to leave. The result: the first one's outcome × 1000 + the second one's.
 * Failures count as 1 to 999: 1 + status.
 */
int guests_interleave(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  other_stack other = {.args = args};
  ss_call call;
  int64_t first = 0;
  int status = begin_call((uint32_t)args[0].as.integer, 1, &call);
  if (status != SS_CALL_GUEST) return text(result, "no guest call"), SS_ERROR;
  start_on(&other, second_call, SMALL_STACK);
  swapcontext(&other.outer, &other.own);
  status = end_call(&call, 10, &first);
  swapcontext(&other.outer, &other.own); /* the second one ends now */
  free(other.memory);
  if (status != SS_OK) first = 1 + status;
  if (other.status != SS_OK) other.value = 1 + other.status;
  return number(result, first * 1000 + other.value);
}

/* ---- longjmp ---- */

static __thread jmp_buf before;

static __attribute__((noinline)) void call_and_jump(uint32_t id) {
  volatile unsigned char room[512];
  fill(room, sizeof room, 1);
  ss_call call;
  if (begin_call(id, 1, &call) == SS_CALL_GUEST) longjmp(before, 1);
}

/* (call, wait, gate): jumps out of a guest function, past the host call that called it, then waits. */
int guests_jump(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  if (setjmp(before) == 0) {
    call_and_jump((uint32_t)args[0].as.integer);
    return text(result, "it did not jump"), SS_ERROR;
  }
  int64_t value = 0;
  int status = call_int((uint32_t)args[1].as.integer, args[2].as.integer, &value);
  return outcome(status, value, result);
}

/* ---- handles ---- */

enum { AS_IT_IS, FORGED_INDEX, FORGED_GENERATION, OTHER_OWNER, RELEASED, RELEASED_TWICE };

/* (id, object, how) */
int guests_handle(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  ss_value object = args[1];
  switch (args[2].as.integer) {
    case FORGED_INDEX: object.as.key += (uint64_t)1000 << 32; break;
    case FORGED_GENERATION: object.as.key += 5; break;
    case OTHER_OWNER: object.as.key ^= (uint64_t)3 << 54; break;
    case RELEASED_TWICE: ss_object_release(object.as.key); /* fall through */
    case RELEASED: ss_object_release(object.as.key); break;
    default: break;
  }
  ss_call call = {0};
  int64_t value = 0;
  int status = finish(&call, ss_host_call((uint32_t)args[0].as.integer, &object, 1, &call), &value);
  return outcome(status, value, result);
}

static ss_value kept;

/* (object, claim) */
int guests_keep(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  kept = args[0];
  if (args[1].as.integer) ss_claim(&args[0]);
  return number(result, 0);
}

/* (id, claim): what that host function gives. */
int guests_keep_result(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  ss_call call = {0};
  if (ss_host_call((uint32_t)args[0].as.integer, NULL, 0, &call) != SS_OK) return text(result, "no object"), SS_ERROR;
  kept = call.values[0];
  if (args[1].as.integer) ss_claim(&call.values[0]);
  ss_host_end(&call);
  return number(result, 0);
}

/* (id): that host function gets what was kept, which is then released. */
int guests_use_kept(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  ss_call call = {0};
  int64_t value = 0;
  int status = finish(&call, ss_host_call((uint32_t)args[0].as.integer, &kept, 1, &call), &value);
  ss_object_release(kept.as.key);
  return outcome(status, value, result);
}

/* ---- cancels ---- */

/* (wait, note): does not give up; notes each refusal, by a host function that is ready at once. */
int guests_stubborn(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  for (int i = 1; i <= 3; i++) {
    int status = call_int((uint32_t)args[0].as.integer, 1, NULL);
    if (status == SS_KILL) return SS_KILL;
    if (status != SS_ERROR || strcmp(last_code, "cancelled") != 0) return text(result, "not cancelled"), SS_ERROR;
    if (call_int((uint32_t)args[1].as.integer, i, NULL) != SS_OK) return text(result, "no note"), SS_ERROR;
  }
  return number(result, 3);
}
