/*
 * The suspension matrix of plain C: everywhere that C code can be entered, it waits. Each function gets (n, point, key) and
 * gives text; `P` is ways_wait().
 */
#include "ways.h"

#include <pthread.h>
#include <search.h>
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#define WAY(name) FUNCTION(ways_##name)
#define BEGIN                        \
  (void)data, (void)nargs;           \
  ways_cell cell = ways_cell_of(args)

/* ---- calls ---- */

WAY(plain) {
  BEGIN;
  int64_t n;
  int status = ways_wait(&cell, &n);
  return status ? status : ways_say(results, "%d", (int)n);
}

static __attribute__((noinline)) int64_t one_deeper(const ways_cell *cell) { return ways_number(cell) + 1; }
static __attribute__((noinline)) int64_t two_deeper(const ways_cell *cell) { return one_deeper(cell) + 1; }

WAY(nested) {
  BEGIN;
  return ways_say(results, "%d", (int)two_deeper(&cell));
}

WAY(pointer) {
  BEGIN;
  int64_t (*volatile function)(const ways_cell *) = ways_number;
  return ways_say(results, "%d", (int)function(&cell));
}

/* Registers and stack over a wait: floats, a large frame, a variable one. */
WAY(frame) {
  BEGIN;
  volatile double third = (double)cell.n / 3;
  double kept = third * 3;
  unsigned char large[8192], variable[64 + cell.n];
  memset(large, (int)cell.n, sizeof large);
  memset(variable, (int)cell.n + 1, sizeof variable);
  int64_t n = ways_number(&cell);
  for (size_t i = 0; i < sizeof large; i++)
    if (large[i] != (unsigned char)n) return sidestack_fail("test", "the frame was changed");
  for (size_t i = 0; i < sizeof variable; i++)
    if (variable[i] != (unsigned char)(n + 1)) return sidestack_fail("test", "the frame was changed");
  return ways_say(results, "%d", (int)(kept + (double)n));
}

/* ---- callbacks of the host ---- */

static FUNCTION(number) {
  (void)args, (void)nargs;
  int64_t n;
  int status = ways_wait(data, &n);
  return status ? status : sidestack_return(results, sidestack_int(n));
}

static int each(sidestack_function function, ways_cell *cell, sidestack_results *results) {
  sidestack_value run[] = {sidestack_nil(), sidestack_int(cell->n)};
  int status = sidestack_callback(function, cell, NULL, &run[0]);
  if (status) return status;
  status = sidestack_call_name("points.each", run, 2, results);
  sidestack_callback_release(run[0]);
  return status;
}

WAY(callback) {
  BEGIN;
  int status = each(number, &cell, results);
  return status ? status : ways_say(results, "%d", (int)sidestack_int_or(results->values, -1));
}

static FUNCTION(twice) {
  (void)args, (void)nargs;
  return each(number, data, results);
}

WAY(callback_in_callback) {
  BEGIN;
  int status = each(twice, &cell, results);
  return status ? status : ways_say(results, "%d", (int)sidestack_int_or(results->values, -1));
}

WAY(callback_of_c) {
  BEGIN;
  sidestack_value callback;
  int status = sidestack_callback(number, &cell, NULL, &callback);
  if (!status) status = sidestack_callback_call(callback, NULL, 0, results);
  sidestack_callback_release(callback);
  return status ? status : ways_say(results, "%d", (int)sidestack_int_or(results->values, -1));
}

static FUNCTION(fails_then_waits) {
  (void)args, (void)nargs, (void)results;
  int64_t n;
  sidestack_call_name("no.such", NULL, 0, NULL);
  int status = ways_wait(data, &n);
  return status ? status : sidestack_fail("after", "it waited");
}

/* A callback that waits after a failure, then fails; and a wait after that. */
WAY(after_failure) {
  BEGIN;
  int status = each(fails_then_waits, &cell, results);
  if (status != SIDESTACK_ERROR || strcmp(sidestack_error_code(), "after") != 0)
    return sidestack_fail("test", "another failure");
  return ways_say(results, "%d", (int)ways_number(&cell));
}

/* ---- callbacks of the C library ---- */

typedef struct item {
  int value;
  const ways_cell *cell;
} item;

static int by_value(const void *a, const void *b) {
  const item *left = a, *right = b;
  if (ways_number(left->cell) != left->cell->n) return 0;
  return left->value - right->value;
}

static int by_value_of(const void *a, const void *b, void *cell) {
  if (ways_number(cell) != ((ways_cell *)cell)->n) return 0;
  return *(const int *)a - *(const int *)b;
}

WAY(qsort) {
  BEGIN;
  item items[] = {{3, &cell}, {1, &cell}, {2, &cell}};
  qsort(items, 3, sizeof *items, by_value);
  return ways_say(results, "%d%d%d", items[0].value, items[1].value, items[2].value);
}

WAY(qsort_r) {
  BEGIN;
  int items[] = {3, 1, 2};
  qsort_r(items, 3, sizeof *items, by_value_of, &cell);
  return ways_say(results, "%d%d%d", items[0], items[1], items[2]);
}

WAY(bsearch) {
  BEGIN;
  item items[] = {{1, &cell}, {2, &cell}, {3, &cell}}, key = {3, &cell};
  const item *found = bsearch(&key, items, 3, sizeof *items, by_value);
  return ways_say(results, "%d", found ? found->value : -1);
}

WAY(lfind) {
  BEGIN;
  item items[] = {{1, &cell}, {2, &cell}}, key = {2, &cell};
  size_t count = 2;
  const item *found = lfind(&key, items, &count, sizeof *items, by_value);
  return ways_say(results, "%d", found ? found->value : -1);
}

typedef struct walk {
  const ways_cell *cell;
  int64_t sum;
} walk;

static void visit(const void *node, VISIT which, void *closure) {
  walk *walk = closure;
  if (which == postorder || which == leaf) walk->sum += (*(const item *const *)node)->value + ways_number(walk->cell);
}

static void forget(void *node) { (void)node; }

WAY(tree) {
  BEGIN;
  item items[] = {{2, &cell}, {1, &cell}, {3, &cell}};
  void *root = NULL;
  for (int i = 0; i < 3; i++) tsearch(&items[i], &root, by_value);
  walk walk = {&cell, 0};
  twalk_r(root, visit, &walk);
  tdestroy(root, forget);
  return ways_say(results, "%d", (int)walk.sum);
}

typedef struct cookie {
  const ways_cell *cell;
  char text[64];
  size_t length;
} cookie;

static ssize_t write_cookie(void *opaque, const char *bytes, size_t size) {
  cookie *cookie = opaque;
  if (ways_number(cookie->cell) != cookie->cell->n || cookie->length + size >= sizeof cookie->text) return 0;
  memcpy(cookie->text + cookie->length, bytes, size);
  cookie->length += size;
  return (ssize_t)size;
}

WAY(stream) {
  BEGIN;
  cookie cookie = {&cell, "", 0};
  FILE *file = fopencookie(&cookie, "w", (cookie_io_functions_t){.write = write_cookie});
  if (!file) return sidestack_fail("test", "fopencookie");
  fprintf(file, "%d", (int)cell.n);
  fflush(file);
  fprintf(file, "+%d", (int)cell.n);
  fclose(file);
  return ways_say(results, "%s", cookie.text);
}

/* ---- the ends of things ---- */

static void wait_at_end(const ways_cell **cell) {
  if (*cell) ((ways_cell *)*cell)->n = ways_number(*cell) + 1;
}

WAY(cleanup) {
  BEGIN;
  {
    __attribute__((cleanup(wait_at_end))) const ways_cell *at_end = &cell;
    (void)at_end;
  }
  return ways_say(results, "%d", (int)cell.n);
}

static void destroy(void *pointer) { wait_at_end((const ways_cell **)&pointer); }
static const sidestack_kind CELL = {"cell", destroy};

WAY(destroy) {
  BEGIN;
  sidestack_handle handle;
  int status = sidestack_handle_make(&cell, &CELL, &handle);
  if (!status) status = sidestack_handle_release(handle);
  return status ? status : ways_say(results, "%d", (int)cell.n);
}

/* ---- jumps, stacks and fibers of one's own ---- */

static __attribute__((noinline)) void jump(jmp_buf *before) { longjmp(*before, 1); }

WAY(after_jump) {
  BEGIN;
  jmp_buf before;
  ways_cell *volatile kept = &cell;
  if (setjmp(before) == 0) {
    if (ways_number(kept) != kept->n) return SIDESTACK_ERROR;
    jump(&before);
  }
  return ways_say(results, "%d", (int)ways_number(kept));
}

enum { SMALL_STACK = 64 << 10 };

typedef struct coroutine {
  ucontext_t own, outer;
  void *memory;
  const ways_cell *cell;
  int depth;
  int64_t sum;
} coroutine;

static void enter_coroutine(coroutine *coroutine);

static void body(unsigned low, unsigned high) {
  coroutine *self = (coroutine *)((uintptr_t)low | (uintptr_t)high << 32);
  self->sum = ways_number(self->cell);
  swapcontext(&self->own, &self->outer); /* yields */
  if (self->depth > 0) {
    coroutine inner = {.cell = self->cell, .depth = self->depth - 1};
    enter_coroutine(&inner);
    self->sum += inner.sum;
  }
  self->sum += ways_number(self->cell);
}

/* Runs it to its yield, waits, and runs it to its end. */
static void enter_coroutine(coroutine *coroutine) {
  uintptr_t address = (uintptr_t)coroutine;
  coroutine->memory = malloc(SMALL_STACK);
  getcontext(&coroutine->own);
  coroutine->own.uc_stack.ss_sp = coroutine->memory;
  coroutine->own.uc_stack.ss_size = SMALL_STACK;
  coroutine->own.uc_link = &coroutine->outer;
  makecontext(&coroutine->own, (void (*)(void))body, 2, (unsigned)address, (unsigned)(address >> 32));
  swapcontext(&coroutine->outer, &coroutine->own);
  coroutine->sum += ways_number(coroutine->cell);
  swapcontext(&coroutine->outer, &coroutine->own);
  free(coroutine->memory);
}

WAY(coroutine) {
  BEGIN;
  coroutine outer = {.cell = &cell};
  enter_coroutine(&outer);
  return ways_say(results, "%d", (int)outer.sum);
}

WAY(coroutine_in_coroutine) {
  BEGIN;
  coroutine outer = {.cell = &cell, .depth = 2};
  enter_coroutine(&outer);
  return ways_say(results, "%d", (int)outer.sum);
}

WAY(spawned) {
  BEGIN;
  sidestack_handle task;
  sidestack_results joined;
  sidestack_results_init(&joined);
  int status = sidestack_spawn(number, &cell, NULL, &task);
  if (status) return status;
  status = sidestack_join(task, &joined);
  sidestack_handle_release(task);
  if (!status) status = ways_say(results, "%d", (int)sidestack_int_or(joined.values, -1));
  sidestack_results_free(&joined);
  return status;
}

/* ---- all of it in one another ---- */

static FUNCTION(all_of_it) {
  (void)args, (void)nargs;
  ways_cell *cell = data;
  item items[] = {{2, cell}, {1, cell}};
  qsort(items, 2, sizeof *items, by_value);
  coroutine own = {.cell = cell};
  enter_coroutine(&own);
  return sidestack_return(results, sidestack_int(own.sum + items[0].value));
}

WAY(all) {
  BEGIN;
  int status = each(all_of_it, &cell, results);
  return status ? status : ways_say(results, "%d", (int)sidestack_int_or(results->values, -1));
}

/* ---- where it is refused ---- */

static __thread const ways_cell *signalled;
static __thread char told[64];

static void on_signal(int signo) {
  (void)signo;
  int64_t n;
  if (ways_wait(signalled, &n) == SIDESTACK_OK) snprintf(told, sizeof told, "it waited");
  else snprintf(told, sizeof told, "%s", sidestack_error_code());
}

WAY(signal) {
  BEGIN;
  signalled = &cell;
  if (signal(SIGUSR2, on_signal) == SIG_ERR) return sidestack_fail("test", "signal");
  pthread_kill(pthread_self(), SIGUSR2);
  return ways_say(results, "%s", told);
}

/* (name, arguments…): calls a host function, for its result. */
FUNCTION(ways_call_text) {
  (void)data;
  char name[64];
  return sidestack_call_name(name_of(&args[0], name, sizeof name), (sidestack_value *)args + 1, nargs - 1, results);
}

/* C that a host function calls: the code of the error, or "". For the host, which keeps the text until its next call. */
const char *ways_in_host(int64_t n, const char *point, const char *key) {
  sidestack_value args[] = {sidestack_int(n), sidestack_string(point), sidestack_string(key)};
  ways_cell cell = ways_cell_of(args);
  int64_t out;
  return ways_wait(&cell, &out) == SIDESTACK_OK ? "" : sidestack_error_code();
}
