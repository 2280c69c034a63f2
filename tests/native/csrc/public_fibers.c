/* Spawned fibers and foreign threads by the public API. */
#include "public.h"

#include <pthread.h>

/* ---- fibers ---- */

static int64_t ended, freed;

FUNCTION(public_counters) {
  (void)data, (void)args, (void)nargs;
  sidestack_value run[] = {sidestack_int(__atomic_load_n(&ended, __ATOMIC_ACQUIRE)),
                           sidestack_int(__atomic_load_n(&freed, __ATOMIC_ACQUIRE))};
  return sidestack_results_set(results, run, 2);
}

static void free_data(void *data) {
  __atomic_add_fetch(&freed, 1, __ATOMIC_ACQ_REL);
  free(data);
}

/* Sleeps for so many milliseconds; counts its end unless it is cancelled. */
static FUNCTION(sleeper) {
  (void)args, (void)nargs;
  int status = sidestack_sleep((double)*(int64_t *)data / 1000);
  if (status) return status;
  __atomic_add_fetch(&ended, 1, __ATOMIC_ACQ_REL);
  return sidestack_return(results, sidestack_int(*(int64_t *)data));
}

static int spawn_sleeper(int64_t milliseconds, sidestack_handle *task) {
  int64_t *data = malloc(sizeof *data);
  *data = milliseconds;
  return sidestack_spawn(sleeper, data, free_data, task);
}

static FUNCTION(joins_itself) {
  (void)args, (void)nargs, (void)results;
  return sidestack_join(*(sidestack_handle *)data, NULL);
}

/* Joins a task that joins itself. */
FUNCTION(public_join_itself) {
  (void)data, (void)args, (void)nargs, (void)results;
  sidestack_handle task = 0;
  int status = sidestack_spawn(joins_itself, &task, NULL, &task);
  if (!status) status = sidestack_join(task, NULL);
  sidestack_handle_release(task);
  return status;
}

enum { RUN_ON, WAIT, CANCEL };

/* (policy, fibers, milliseconds): starts fibers and returns by the policy; with WAIT, the sum of their results. */
FUNCTION(public_policy) {
  (void)data, (void)nargs;
  enum { MOST = 64 };
  sidestack_handle tasks[MOST];
  int64_t policy = args[0].as.integer, count = args[1].as.integer, sum = 0;
  for (int64_t i = 0; i < count; i++)
    if (spawn_sleeper(args[2].as.integer, policy == RUN_ON ? NULL : &tasks[i])) return SIDESTACK_ERROR;
  for (int64_t i = 0; i < count && policy != RUN_ON; i++) {
    sidestack_results joined;
    sidestack_results_init(&joined);
    if (policy == CANCEL && sidestack_cancel(tasks[i])) return SIDESTACK_ERROR;
    int status = sidestack_join(tasks[i], &joined);
    if (policy == WAIT && status) return status;
    if (policy == CANCEL && (status != SIDESTACK_ERROR || strcmp(sidestack_error_code(), "cancelled") != 0))
      return sidestack_fail("test", "a cancelled task ended well");
    if (policy == WAIT) sum += sidestack_int_or(joined.values, -1);
    sidestack_results_free(&joined);
    sidestack_handle_release(tasks[i]);
  }
  return sidestack_return(results, sidestack_int(sum));
}

/* ---- threads ---- */

struct thread {
  sidestack_host *host; /* NULL: it does not attach */
  int64_t argument;
  int detach;
  int status, second;
  char code[64];
  int64_t out;
  int over;
};

static void *thread_main(void *data) {
  struct thread *thread = data;
  if (thread->host && sidestack_attach(thread->host)) abort();
  thread->status = call_int("t.wait_and_add", thread->argument, &thread->out);
  thread->second = call_int("t.wait_and_add", thread->argument, &thread->out);
  snprintf(thread->code, sizeof thread->code, "%s", sidestack_error_code());
  if (thread->detach && sidestack_detach()) abort();
  if (thread->detach && sidestack_detach() != SIDESTACK_REFUSED) abort();
  __atomic_store_n(&thread->over, 1, __ATOMIC_RELEASE);
  return NULL;
}

/* A fiber must not block on a thread that needs its interpreter: it looks until it has ended. */
static int wait_for(struct thread *thread) {
  while (!__atomic_load_n(&thread->over, __ATOMIC_ACQUIRE))
    if (sidestack_sleep(0.001)) return SIDESTACK_CANCELLED;
  return SIDESTACK_OK;
}

/* (threads, attach, detach): raw threads, all at once, call the host twice each. Status, second status, code, and the sum of the results. */
FUNCTION(public_threads) {
  (void)data, (void)nargs;
  int64_t count = args[0].as.integer, sum = 0;
  sidestack_host *host = NULL;
  if (sidestack_int_or(&args[1], 0) && sidestack_host_here(&host)) return SIDESTACK_ERROR;
  struct thread *threads = calloc((size_t)count, sizeof *threads);
  pthread_t *ids = calloc((size_t)count, sizeof *ids);
  for (int64_t i = 0; i < count; i++) {
    threads[i] = (struct thread){.host = host, .argument = i, .detach = (int)sidestack_int_or(&args[2], 0)};
    if (pthread_create(&ids[i], NULL, thread_main, &threads[i])) abort();
  }
  for (int64_t i = 0; i < count; i++) {
    wait_for(&threads[i]);
    pthread_join(ids[i], NULL);
    sum += threads[i].out;
  }
  sidestack_host_free(host);
  sidestack_value run[] = {sidestack_int(threads[0].status), sidestack_int(threads[0].second),
                           sidestack_string(threads[0].code), sidestack_int(sum)};
  int status = sidestack_results_set(results, run, 4);
  free(threads);
  free(ids);
  return status;
}

/* What an attached thread may not do. */
static void *thread_misuse(void *data) {
  struct thread *thread = data;
  sidestack_handle handle;
  sidestack_value callback;
  static const sidestack_kind kind = {"none", NULL};
  uintptr_t base, limit;
  if (sidestack_attach(thread->host)) abort();
  thread->status = sidestack_handle_make(data, &kind, &handle) == SIDESTACK_REFUSED &&
                   sidestack_callback(sleeper, NULL, NULL, &callback) == SIDESTACK_REFUSED &&
                   sidestack_yield() == SIDESTACK_REFUSED && sidestack_stack(&base, &limit) == SIDESTACK_REFUSED &&
                   sidestack_poll() == SIDESTACK_OK && sidestack_sleep(0.001) == SIDESTACK_OK;
  sidestack_value object = sidestack_nil();
  object.tag = SIDESTACK_OBJECT;
  thread->second = sidestack_call_name("t.touch", &object, 1, NULL);
  snprintf(thread->code, sizeof thread->code, "%s", sidestack_error_code());
  call_int("t.fails", 1, NULL);
  thread->out = strcmp(sidestack_error_code(), "a_code") == 0;
  __atomic_store_n(&thread->over, 1, __ATOMIC_RELEASE);
  return NULL;
}

FUNCTION(public_thread_misuse) {
  (void)data, (void)args, (void)nargs;
  struct thread thread = {0};
  pthread_t id;
  if (sidestack_host_here(&thread.host)) return SIDESTACK_ERROR;
  int here = sidestack_attach(thread.host);
  if (pthread_create(&id, NULL, thread_misuse, &thread)) abort();
  wait_for(&thread);
  pthread_join(id, NULL);
  sidestack_host_free(thread.host);
  sidestack_value run[] = {sidestack_int(thread.status), sidestack_int(thread.second), sidestack_string(thread.code),
                           sidestack_int(thread.out), sidestack_int(here)};
  return sidestack_results_set(results, run, 5);
}

/* A thread that outlives its interpreter. */
static struct thread late;

static void *thread_late(void *data) {
  (void)data;
  if (sidestack_attach(late.host)) abort();
  sidestack_host_free(late.host);
  late.status = call_int("t.block", 9, NULL);
  late.second = call_int("t.ready", 1, NULL);
  snprintf(late.code, sizeof late.code, "%s", sidestack_error_code());
  __atomic_store_n(&late.over, 1, __ATOMIC_RELEASE);
  return NULL;
}

FUNCTION(public_late) {
  (void)data, (void)args, (void)nargs, (void)results;
  pthread_t id;
  if (sidestack_host_here(&late.host)) return SIDESTACK_ERROR;
  if (pthread_create(&id, NULL, thread_late, NULL) || pthread_detach(id)) abort();
  return SIDESTACK_OK;
}

/* For any thread: whether that thread has ended; what it was told. */
int public_late_told(int *status, int *second, const char **code) {
  if (!__atomic_load_n(&late.over, __ATOMIC_ACQUIRE)) return 0;
  *status = late.status;
  *second = late.second;
  *code = late.code;
  return 1;
}
