/* C that calls exported functions. A case returns 0, or the line that failed. It includes the generated header only. */
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

struct point {
  int32_t x, y;
};

#include "exports.h"

#define CHECK(condition)                                                                              \
  do {                                                                                                \
    if (!(condition)) {                                                                               \
      fprintf(stderr, "cases.c:%d: %s; last error %s: %s\n", __LINE__, #condition,                    \
              sidestack_error_code(), sidestack_error_message());                           \
      return __LINE__;                                                                                \
    }                                                                                                 \
  } while (0)

#define FAILED_AS(what) (strcmp(sidestack_error_code(), what) == 0)
#define TOLD(what) (strstr(sidestack_error_message(), what) != NULL)

int64_t unbuffered(int64_t unused) {
  (void)unused;
  setvbuf(stdout, NULL, _IONBF, 0);
  return 0;
}

/* ---- types ---- */

int64_t case_types(int64_t unused) {
  (void)unused;
  CHECK(add(2, 3) == 5);
  CHECK(numbers(-1, 200, -300, 60000, -70000, 4000000000u, -5000000000, 6000000000u, -7, 8, 0.5f, 0.25) ==
        -1.0 + 200 - 300 + 60000 - 70000 + 4000000000.0 - 5000000000.0 + 6000000000.0 - 7 + 8 + 0.5 + 0.25);
  CHECK(flip(false) && !flip(true));
  CHECK(text_length("gr\xc3\xbc\xc3\x9f") == 4);
  CHECK(maybe_length("four") == 4 && maybe_length(NULL) == -2);
  unsigned char bytes[9] = {0};
  fill(bytes + 1, 7, 0xab);
  CHECK(bytes[0] == 0 && bytes[1] == 0xab && bytes[7] == 0xab && bytes[8] == 0);
  fill(NULL, 0, 1);
  int32_t place = 1;
  CHECK(strcmp(store(&place, 77), "stored") == 0 && place == 77 && store(NULL, 1));
  CHECK(no_memory(false) != NULL);
  CHECK(ready_at_once(41) == 42);
  CHECK(mix(1, 2) == (32u ^ 2u));
  nothing();
  CHECK(c_word(9, 4) == 5);
  struct point point = {-3, 4};
  CHECK(manhattan(&point) == 7);
  CHECK(with_state(1) == 101);
  CHECK(owned_add("x", 1, 2) == 3 && attached_add(1, 2) == 3); /* no foreign thread */
  CHECK(*sidestack_error_code() == 0 && *sidestack_error_message() == 0);
  return 0;
}

/* ---- errors ---- */

int64_t case_errors(int64_t unused) {
  (void)unused;
  CHECK(text_length("\xff") == -1 && FAILED_AS("not_utf8") && TOLD("argument text"));
  CHECK(text_length(NULL) == -1 && FAILED_AS("null_argument") && TOLD("argument text is NULL"));
  int32_t quotient = 5;
  CHECK(divide(7, 2, &quotient) == 0 && quotient == 3);
  CHECK(divide(1, 0, &quotient) == -1 && quotient == 3);
  CHECK(FAILED_AS("error") && TOLD("cannot divide: division by zero"));
  CHECK(divide(1, 1, NULL) == -1 && FAILED_AS("null_argument") && TOLD("out parameter"));
  CHECK(parse("good") == 0 && parse("\xff") == -7 && FAILED_AS("error"));
  CHECK(no_memory(true) == NULL && FAILED_AS("no_memory") && TOLD("there is none"));
  const char *code = sidestack_error_code();
  CHECK(add(1, 1) == 2 && code == sidestack_error_code() && FAILED_AS("no_memory"));
  int32_t items[3] = {1, 2, 3};
  CHECK(sum((int32_t *)((char *)items + 1), 2) == INT64_MIN && FAILED_AS("misaligned_argument"));
  CHECK(sum(NULL, 1) == INT64_MIN && FAILED_AS("null_argument"));
  CHECK(manhattan(NULL) == -1 && FAILED_AS("error"));
  CHECK(do_fetch("http://127.0.0.1:1/none") == -1 && FAILED_AS("error") && TOLD("cannot reach 127.0.0.1:1"));
  CHECK(do_fetch("gopher://x") == -1 && TOLD("no HTTP"));
  return 0;
}

int64_t case_panics(int64_t gate) {
  gate = 2000;
  CHECK(explode(true) == -3 && FAILED_AS("panic") && TOLD("host function explode panicked: boom"));
  CHECK(explode_later(gate) == 0 && FAILED_AS("panic") && TOLD("boom, later"));
  CHECK(explode_dropped(gate) == 0 && FAILED_AS("panic") && TOLD("boom, dropped"));
  CHECK(mute_error() == -1 && FAILED_AS("panic") && TOLD("Display panicked"));
  CHECK(apply(NULL, 1) == 0 && FAILED_AS("null_argument"));
  CHECK(add(1, 2) == 3);
  return 0;
}

/* Two fibers fail in turn: each keeps its own error. (which): 0 or 1. */
int64_t case_own_error(int64_t which) {
  CHECK(*sidestack_error_code() == 0);
  if (which) {
    CHECK(no_memory(true) == NULL);
  } else {
    CHECK(text_length(NULL) == -1);
  }
  CHECK(at_gate(3000) == 1);
  CHECK(which ? FAILED_AS("no_memory") : FAILED_AS("null_argument"));
  return 0;
}

/* ---- waiting ---- */

int64_t case_gate(int64_t gate) { return at_gate(gate); }

static void pattern(volatile unsigned char *bytes, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)((i * 31 + seed) >> 3);
}

static int intact(const volatile unsigned char *bytes, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i++)
    if (bytes[i] != (unsigned char)((i * 31 + seed) >> 3)) return 0;
  return 1;
}

/* (gate): waits with 4 KiB of pattern on the stack. */
int64_t case_pattern(int64_t gate) {
  volatile unsigned char bytes[4096];
  unsigned seed = (unsigned)gate * 977;
  pattern(bytes, sizeof bytes, seed);
  int64_t value = at_gate(gate);
  return intact(bytes, sizeof bytes, seed) ? value : -1;
}

int64_t case_sum(int64_t unused) {
  (void)unused;
  int32_t items[4] = {1, 2, 3, -10};
  return sum(items, 4);
}

static volatile int stop;

/* Ticks every 5 ms until it is told to stop; how many times. */
int64_t case_ticker(int64_t unused) {
  (void)unused;
  int64_t ticks = 0;
  for (stop = 0; !stop; ticks++) {
    tick();
    CHECK(nap(5) == 0);
  }
  return ticks;
}

int64_t case_stop(int64_t unused) {
  (void)unused;
  stop = 1;
  return 0;
}

/* What the cases below count when they get to their end. */
static _Atomic int64_t ends;

int64_t case_count(int64_t unused) {
  (void)unused;
  return ends;
}

/* Cancelled, it does not give up: what would wait is cancelled, what is ready works. */
int64_t case_stubborn(int64_t gate) {
  CHECK(at_gate(gate) == INT64_MIN && FAILED_AS("cancelled"));
  CHECK(nap(1) == -1 && FAILED_AS("cancelled"));
  CHECK(add(1, 2) == 3 && ready_at_once(1) == 2);
  return ++ends;
}

int64_t case_deadline(int64_t gate) {
  CHECK(at_gate(gate) == INT64_MIN && FAILED_AS("deadline"));
  return ++ends;
}

/* Calls nothing but what is ready, until another fiber of the thread stops it. */
int64_t case_busy(int64_t unused) {
  (void)unused;
  for (stop = 0; !stop;) CHECK(add(1, 2) == 3);
  return 0;
}

/* The same until it fails. */
int64_t case_busy_deadline(int64_t unused) {
  (void)unused;
  while (add(1, 2) == 3)
    ;
  CHECK(FAILED_AS("deadline"));
  return ++ends;
}

/* ---- other stacks ---- */

typedef struct other_stack {
  ucontext_t own, outer;
  int64_t gate, value;
} other_stack;

static void wait_there(unsigned low, unsigned high) {
  other_stack *other = (other_stack *)((uintptr_t)low | (uintptr_t)high << 32);
  for (int i = 0; i < 3; i++) other->value += case_pattern(other->gate + i);
}

/* (gate): waits at three gates in a row, on a stack of 64 KiB that C made. */
int64_t case_small_stack(int64_t gate) {
  other_stack other = {.gate = gate};
  void *memory = malloc(64 * 1024);
  getcontext(&other.own);
  other.own.uc_stack.ss_sp = memory;
  other.own.uc_stack.ss_size = 64 * 1024;
  other.own.uc_link = &other.outer;
  uintptr_t address = (uintptr_t)&other;
  makecontext(&other.own, (void (*)(void))wait_there, 2, (unsigned)address, (unsigned)(address >> 32));
  swapcontext(&other.outer, &other.own);
  free(memory);
  return other.value;
}

/* ---- host code that calls C ---- */

static int32_t twice(int32_t n) { return 2 * n; }
static int32_t uses_add(int32_t n) { return add(n, 1); }
static int32_t naps(int32_t n) { return nap((uint32_t)n); }
static int32_t awaits_ready(int32_t n) { return ready_at_once(n); }
static int32_t explodes(int32_t n) { return explode(n); }
static int32_t deeper(int32_t n) { return n == 0 ? explode(true) : apply(deeper, n - 1) - 1; }

static int32_t later(void *data) {
  int *waited = data;
  *waited = nap(1);
  return add(*waited, 10);
}

int64_t case_on_thread(int64_t unused) {
  (void)unused;
  CHECK(apply(twice, 4) == 8);
  CHECK(apply(uses_add, 4) == 5);
  CHECK(apply(awaits_ready, 4) == 5);
  CHECK(apply(naps, 1) == -1 && FAILED_AS("cannot_suspend_on_thread") && TOLD("nap cannot wait here"));
  CHECK(apply(explodes, 1) == -3 && FAILED_AS("panic"));
  CHECK(apply(deeper, 100) == -103 && FAILED_AS("panic"));
  int waited = 5;
  CHECK(apply_later(later, &waited) == 9 && waited == -1 && FAILED_AS("cannot_suspend_on_thread"));
  CHECK(apply_later(NULL, NULL) == -1 && TOLD("no function"));
  CHECK(nap(1) == 0);
  return 0;
}

int64_t case_no_callback(int64_t unused) {
  (void)unused;
  CHECK(quietly(twice, 4) == 8);
  CHECK(*sidestack_error_code() == 0);
  CHECK(quietly(uses_add, 4) == 0 && FAILED_AS("called_back") && TOLD("quietly is marked no_callback"));
  CHECK(add(1, 2) == 3);
  CHECK(quietly_later(twice, 4) == 8);
  CHECK(quietly_later(uses_add, 4) == 0 && FAILED_AS("called_back") && TOLD("quietly_later"));
  CHECK(add(1, 2) == 3 && apply(uses_add, 4) == 5);
  return 0;
}

/* ---- longjmp ---- */

static jmp_buf before;

/* Jumps over a frame that has made calls, ready ones and awaited ones. */
static __attribute__((noinline)) void call_and_jump(int how) {
  volatile unsigned char room[512];
  pattern(room, sizeof room, 1);
  if (how == 0) add(1, 2);
  if (how == 1) nap(1);
  if (how == 2) no_memory(true);
  longjmp(before, how + 1);
}

int64_t case_jump(int64_t unused) {
  (void)unused;
  for (volatile int how = 0; how < 3; how++) {
    int came = setjmp(before);
    if (!came) call_and_jump(how);
    CHECK(came == how + 1);
    CHECK(nap(1) == 0 && add(1, 2) == 3);
  }
  CHECK(FAILED_AS("no_memory"));
  return 0;
}

/* ---- foreign threads ---- */

typedef struct thread_run {
  int64_t (*body)(int64_t);
  int64_t argument, line;
} thread_run;

static void *thread_main(void *data) {
  thread_run *run = data;
  run->line = run->body(run->argument);
  return NULL;
}

static int64_t on_thread(int64_t (*body)(int64_t), int64_t argument) {
  thread_run run = {body, argument, -1};
  pthread_t thread;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 256 * 1024);
  if (pthread_create(&thread, &small, thread_main, &run)) return __LINE__;
  pthread_attr_destroy(&small);
  pthread_join(thread, NULL);
  return run.line;
}

static int64_t rejected(int64_t n) {
  CHECK(*sidestack_error_code() == 0);
  for (int i = 0; i < 2; i++) {
    CHECK(add((int32_t)n, 1) == 0 && FAILED_AS("foreign_thread") && TOLD("add may be called on interpreter threads only"));
    CHECK(nap(1) == -1 && FAILED_AS("foreign_thread"));
  }
  CHECK(mix(1, 2) == (32u ^ 2u));
  return 0;
}

static int64_t owned(int64_t n) {
  char text[32];
  snprintf(text, sizeof text, "number %d", (int)n);
  for (int i = 0; i < 2; i++) {
    CHECK(owned_add(text, (int32_t)n, i) == n + i);
    CHECK(owned_add(text, -1, i) == -1 && FAILED_AS("negative") && TOLD(text));
    CHECK(owned_add(NULL, 1, i) == -1 && FAILED_AS("null_argument"));
  }
  return 0;
}

static int64_t attached(int64_t n) {
  for (int i = 0; i < 2; i++) {
    CHECK(attached_add((int32_t)n, i) == n + i);
    CHECK(attached_add(-1, i) == -1 && FAILED_AS("negative") && TOLD("-1"));
    CHECK(n > 0 || (attached_add(-2, i) == -1 && FAILED_AS("panic") && TOLD("two below")));
    CHECK(attached_quietly(twice, 4) == 8);
    CHECK(attached_quietly(uses_add, 4) == 0 && FAILED_AS("called_back"));
  }
  return 0;
}

static int64_t no_owner(int64_t n) {
  CHECK(owned_add("x", (int32_t)n, 1) == -1 && FAILED_AS("no_owner"));
  return 0;
}

static int64_t shut_down(int64_t n) {
  CHECK(owned_add("x", (int32_t)n, 1) == -1 && FAILED_AS("shut_down"));
  return 0;
}

/* For any thread: starts a foreign one for each. */
int64_t threads_rejected(int64_t n) { return on_thread(rejected, n); }
int64_t threads_owned(int64_t n) { return on_thread(owned, n); }
int64_t threads_attached(int64_t n) { return on_thread(attached, n); }
int64_t threads_no_owner(int64_t n) { return on_thread(no_owner, n); }
int64_t threads_shut_down(int64_t n) { return on_thread(shut_down, n); }
static int64_t waits_owned(int64_t gate) { return owned_gate(gate); }
int64_t threads_gate(int64_t gate) { return on_thread(waits_owned, gate); }
