/*
 * A crowd of fibers in plain C: each is a C function that sleeps as if it had a thread of its own. Ten thousand of them share
 * one thread.
 *
 *   make PKG_CONFIG_PATH=... && ./crowd [fibers]
 */
#include <sidestack.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* One of the crowd: sleeps 50 ms in five steps; its result is its number. */
static int member(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  int64_t number = *(int64_t *)data;
  int i;
  (void)args, (void)nargs;
  for (i = 0; i < 5; i++) {
    int status = sidestack_sleep(0.01);
    if (status != SIDESTACK_OK) return status; /* cancelled: clean up and leave */
  }
  return sidestack_return(results, sidestack_int(number));
}

/* (n): starts a crowd, waits for each, and sums their results. */
static int crowd(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  size_t count = nargs ? (size_t)sidestack_int_or(&args[0], 0) : 0, i;
  sidestack_handle *tasks = calloc(count + 1, sizeof *tasks);
  int64_t sum = 0;
  int status = SIDESTACK_OK;
  (void)data;
  if (!tasks) return sidestack_fail("memory", "no memory for the crowd");
  for (i = 0; i < count && status == SIDESTACK_OK; i++) {
    int64_t *number = malloc(sizeof *number);
    if (!number) {
      status = sidestack_fail("memory", "no memory for a member");
      break;
    }
    *number = (int64_t)i + 1;
    status = sidestack_spawn(member, number, free, &tasks[i]);
  }
  for (i = 0; i < count && tasks[i]; i++) {
    sidestack_results joined;
    sidestack_results_init(&joined);
    if (status == SIDESTACK_OK) status = sidestack_join(tasks[i], &joined);
    if (status == SIDESTACK_OK) sum += sidestack_int_or(joined.values, 0);
    sidestack_results_free(&joined);
    sidestack_handle_release(tasks[i]);
  }
  free(tasks);
  return status == SIDESTACK_OK ? sidestack_return(results, sidestack_int(sum)) : status;
}

/* Never ends by itself, but polls: a deadline ends it. */
static int spin(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  int status;
  (void)data, (void)args, (void)nargs, (void)results;
  while ((status = sidestack_poll()) == SIDESTACK_OK) {
  }
  return status;
}

int main(int argc, char **argv) {
  static const sidestack_export functions[] = {{"crowd", crowd, NULL}, {"spin", spin, NULL}};
  sidestack_options options = {0, 0, 0, 0};
  sidestack_engine *engine;
  sidestack_results results;
  sidestack_value count = sidestack_int(argc > 1 ? atoll(argv[1]) : 5000);
  int status;
  options.threads = 1;
  options.fibers = 20000;
  options.stack = 64 * 1024;
  if (sidestack_engine_new(&options, functions, 2, &engine) != SIDESTACK_OK) {
    fprintf(stderr, "no engine: %s\n", sidestack_error_message());
    return 1;
  }
  sidestack_results_init(&results);
  status = sidestack_engine_call(engine, "crowd", &count, 1, 0, &results);
  if (status == SIDESTACK_OK)
    printf("%" PRId64 " fibers slept, their sum is %" PRId64 "\n", count.as.integer, results.values[0].as.integer);
  else
    printf("the crowd failed: %d %s: %s\n", status, sidestack_error_code(), sidestack_error_message());
  sidestack_results_free(&results);

  status = sidestack_engine_call(engine, "spin", NULL, 0, 50, NULL);
  printf("spin: %s (%s)\n", status == SIDESTACK_CANCELLED ? "cancelled" : "?", sidestack_error_code());
  status = sidestack_engine_call(engine, "none", NULL, 0, 0, NULL);
  printf("none: %s\n", status == SIDESTACK_ERROR ? sidestack_error_code() : "?");

  if (sidestack_engine_free(engine, 1000) != SIDESTACK_OK) printf("free: %s\n", sidestack_error_message());
  return 0;
}
