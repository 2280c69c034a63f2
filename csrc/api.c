/* The C API's calls, results and errors. Handles and callbacks are in api_handles.c, threads in api_threads.c. */
#include "api.h"

#include <stdlib.h>
#include <string.h>

#include "barrier.h"
#include "leaf.h"
#include "signals_state.h"
#include "way_in.h"

ss_crossing ss_cross_error_set, ss_cross_error_get, ss_cross_callback_find, ss_cross_is_cancel, ss_cross_turn;

SS_PUBLIC(version);
SS_PUBLIC(error_code);
SS_PUBLIC(error_message);
SS_PUBLIC(fail);
SS_PUBLIC(results_set);
SS_PUBLIC(results_free);
SS_PUBLIC(function_id);
SS_PUBLIC(call);
SS_PUBLIC(call_name);
SS_PUBLIC(yield);
SS_PUBLIC(poll);
SS_PUBLIC(sleep);
SS_PUBLIC(fiber);
SS_PUBLIC(stack);

const char *sidestack_version(void) { return SIDESTACK_VERSION; }

/* ---- errors ---- */

/* In a signal handler nothing else can be written: constants. */
static __thread const char *handler_code __attribute__((tls_model("initial-exec"))) = "";
static __thread const char *handler_message __attribute__((tls_model("initial-exec"))) = "";

/* The signal handlers of guests run on the thread's alternate stack, and nothing else does. [any thread; no; no] */
static int in_handler(void) {
  const ss_signals *signals = &ss_signals_state;
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  return signals->stack && here - (uintptr_t)signals->stack < signals->stack_size;
}

/* The fiber's, or the thread's where none runs. [any thread, not in a handler; no; no] */
void ss_api_error_set(const ss_value *error) {
  if (ss_thread_state.fiber)
    ss_cross((uintptr_t)error, 0, 0, 0, ss_cross_error_set);
  else
    ss_foreign_error_set(error);
}

/* [any thread, not in a handler; no; no] */
static void get_error(ss_value *error) {
  if (ss_thread_state.fiber)
    ss_cross((uintptr_t)error, 0, 0, 0, ss_cross_error_get);
  else
    ss_foreign_error_get(error);
}

int ss_api_error(int status, const char *code, const char *message) {
  ss_value error[SS_ERROR_VALUES] = {sidestack_string(code), sidestack_string(message), {0}, sidestack_int(0)};
  ss_api_error_set(error);
  return status;
}

int sidestack_fail(const char *code, const char *message) {
  if (in_handler()) return SIDESTACK_ERROR;
  return ss_api_error(SIDESTACK_ERROR, code ? code : "", message ? message : "");
}

const char *sidestack_error_code(void) {
  if (in_handler()) return handler_code;
  ss_value error[SS_ERROR_VALUES];
  get_error(error);
  return error[0].tag == SS_STRING ? error[0].as.bytes : "";
}

const char *sidestack_error_message(void) {
  if (in_handler()) return handler_message;
  ss_value error[SS_ERROR_VALUES];
  get_error(error);
  return error[1].as.bytes;
}

int ss_api_outside_handlers(void) {
  if (!in_handler()) return SIDESTACK_OK;
  handler_code = "in_signal_handler";
  handler_message = "the host cannot be called from a signal handler";
  return SIDESTACK_REFUSED;
}

int ss_api_on_fiber(void) {
  int refused = ss_api_outside_handlers();
  if (refused) return refused;
  if (ss_thread_state.fiber) return SIDESTACK_OK;
  return ss_api_error(SIDESTACK_REFUSED, "no_fiber", "no fiber runs on this thread");
}

/* ---- results ---- */

/* The entry behind a run. */
static const ss_value *end_of(const ss_value *run, uint32_t count) {
  while (count-- > 0) run = sidestack_next(run);
  return run;
}

void sidestack_results_free(sidestack_results *results) {
  if (results->owned) {
    const ss_value *end = end_of(results->values, results->count);
    for (const ss_value *value = results->values; value < end; value++)
      if (value->tag == SS_OBJECT) sidestack_handle_release(value->as.key);
  }
  free(results->memory);
  sidestack_results_init(results);
}

static int is_text(uint32_t tag) { return tag == SS_STRING || tag == SS_BYTES; }

int sidestack_results_set(sidestack_results *results, const sidestack_value *run, uint32_t count) {
  if (count <= 1 && (count == 0 || !(is_text(sidestack_tag_of(run)) || sidestack_tag_of(run) == SS_LIST ||
                                     sidestack_tag_of(run) == SS_MAP))) {
    ss_value one = count ? *run : sidestack_nil();
    sidestack_results_free(results);
    one.tag &= ~SS_CLAIMED;
    results->one = one;
    results->values = &results->one;
    results->count = count;
    return SIDESTACK_OK;
  }
  const ss_value *end = end_of(run, count);
  size_t entries = (size_t)(end - run), bytes = 0;
  for (const ss_value *value = run; value < end; value++)
    if (is_text(sidestack_tag_of(value))) bytes += (size_t)value->len + 1;
  ss_value *values = malloc(entries * sizeof *values + bytes);
  if (!values) return ss_api_error(SIDESTACK_NO_MEMORY, "memory", "not enough memory for results");
  char *text = (char *)(values + entries);
  for (size_t i = 0; i < entries; i++) {
    values[i] = run[i];
    values[i].tag &= ~SS_CLAIMED;
    if (!is_text(values[i].tag)) continue;
    if (run[i].len) memcpy(text, run[i].as.bytes, run[i].len);
    text[run[i].len] = '\0';
    values[i].as.bytes = text;
    text += (size_t)run[i].len + 1;
  }
  /* Last: the run may be what the results are now. */
  sidestack_results_free(results);
  results->memory = values;
  results->values = values;
  results->count = count;
  return SIDESTACK_OK;
}

/* ---- runs of C functions ---- */

int ss_api_run(sidestack_function function, void *data, const ss_value *args, uint32_t nargs, sidestack_results *results) {
  struct ss_barrier_call call = {function, data, args, nargs, results, NULL};
  int status = ss_barrier(&call);
  if (call.caught) return ss_barrier_caught(&call);
  return status;
}

void ss_api_error_values(int status, ss_value *error) {
  get_error(error);
  if (error[1].tag == SS_STRING) return;
  /* It failed without saying why. */
  static const char message[] = "a C function failed and set no error";
  error[0] = sidestack_nil();
  error[1] = status == SIDESTACK_NO_MEMORY ? sidestack_string("not enough memory") : sidestack_string(message);
  error[2] = sidestack_nil();
  error[3] = sidestack_int(0);
}

/* ---- calls ---- */

/* What a host call returned, for C: objects are its own from here on, until the results are freed. [fiber; no; no] */
static int hand_over(const ss_call *call, sidestack_results *results) {
  int status = sidestack_results_set(results, call->values, call->count);
  if (status) return status;
  const ss_value *end = end_of(call->values, call->count);
  for (const ss_value *value = call->values; value < end; value++) {
    if (value->tag != SS_OBJECT) continue;
    ss_claim(value);
    results->owned = 1;
  }
  return SIDESTACK_OK;
}

/* The fiber is to end: it stays told, whatever else it calls. [fiber; no; no] */
static int cancelled(void) {
  ss_thread_state.interrupt |= SS_INTERRUPT_CANCEL;
  return SIDESTACK_CANCELLED;
}

/* A host call has ended with an error. [fiber; no; no] */
static int host_error(const ss_call *call) {
  ss_api_error_set(call->values);
  return ss_cross((uintptr_t)call->values, 0, 0, 0, ss_cross_is_cancel) ? cancelled() : SIDESTACK_ERROR;
}

/* Runs the callback that the host asks for. [fiber; may suspend; no] */
static int answer(ss_call *call) {
  ss_callback callback;
  sidestack_results results;
  ss_value error[SS_ERROR_VALUES];
  sidestack_results_init(&results);
  int status = (int)ss_cross(call->function, (uintptr_t)&callback, 0, 0, ss_cross_callback_find);
  if (status == SIDESTACK_OK) status = ss_api_run(callback.function, callback.data, call->values, call->count, &results);
  if (status == SIDESTACK_OK) {
    status = ss_host_answer(call, SS_OK, (ss_value *)results.values, results.count);
  } else if (status == SIDESTACK_CANCELLED) {
    status = ss_host_answer(call, SS_KILL, NULL, 0);
  } else {
    ss_api_error_values(status, error);
    status = ss_host_answer(call, SS_ERROR, error, SS_ERROR_VALUES);
  }
  sidestack_results_free(&results);
  return status;
}

int sidestack_call(uint32_t id, sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  int refused = ss_api_outside_handlers();
  if (refused) return refused;
  const ss_thread *thread = &ss_thread_state;
  if (!thread->fiber) return ss_foreign_call(id, args, nargs, results);
  const ss_host_desc *host = thread->host;
  if (id < host->nleaves && host->leaves[id].run) {
    ss_value result;
    int count = ss_leaf_run(&host->leaves[id], args, nargs, &result);
    if (count != SS_NO_LEAF) return results ? sidestack_results_set(results, &result, (uint32_t)count) : SIDESTACK_OK;
  }
  ss_call call; /* here, and not the caller's: its address says how far in the call is */
  ss_call_begin(&call);
  int status = ss_host_call(id, args, nargs, &call), outcome;
  while (status == SS_CALL_GUEST) status = answer(&call);
  if (status == SS_OK) {
    outcome = results ? hand_over(&call, results) : SIDESTACK_OK;
  } else if (status == SS_ERROR) {
    outcome = host_error(&call);
  } else {
    ss_api_error(0, "cancelled", "cancelled");
    outcome = cancelled();
  }
  ss_host_end(&call);
  return outcome;
}

int sidestack_function_id(const char *name, uint32_t *id) {
  int refused = ss_api_outside_handlers();
  if (refused) return refused;
  if (!name) return ss_api_error(SIDESTACK_NOT_FOUND, "not_found", "no name was given");
  if (!ss_thread_state.fiber) return ss_foreign_function_id(name, id);
  int64_t found = ss_function_id(name);
  if (found < 0) return ss_api_error(SIDESTACK_NOT_FOUND, "not_found", "there is no host function of this name");
  *id = (uint32_t)found;
  return SIDESTACK_OK;
}

int sidestack_call_name(const char *name, sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  uint32_t id;
  int status = sidestack_function_id(name, &id);
  return status ? status : sidestack_call(id, args, nargs, results);
}

/* ---- the fiber ---- */

int ss_api_look_up(void) {
  int64_t status;
  do
    status = ss_cross(0, 0, 0, 0, ss_cross_turn);
  while (status == SS_CROSS_AGAIN);
  return status == SS_OK ? SIDESTACK_OK : cancelled();
}

/* sidestack_yield() where it cannot be done. [any thread; no; no] */
static __attribute__((cold, noinline)) int refuse_yield(void) {
  int refused = ss_api_on_fiber();
  if (refused) return refused;
  return ss_api_error(SIDESTACK_REFUSED, "cannot_suspend_on_thread", "host code called the C code that gives way");
}

int sidestack_yield(void) {
  ss_thread *thread = &ss_thread_state;
  if (__builtin_expect(thread->place != SS_ON_FIBER || in_handler(), 0)) return refuse_yield();
  return ss_cross_yield(thread, SS_CALLERS_FRAME, SS_RETURNS_TO);
}

int sidestack_poll(void) {
  const ss_thread *thread = &ss_thread_state;
  if (!thread->interrupt || thread->place != SS_ON_FIBER || in_handler()) return SIDESTACK_OK;
  return ss_api_look_up();
}

int sidestack_sleep(double seconds) {
  ss_value args[] = {sidestack_float(seconds)};
  ss_thread *thread = &ss_thread_state;
  if (__builtin_expect(!thread->sleep_function, 0)) {
    uint32_t id;
    int status = sidestack_function_id("sidestack.core.sleep", &id);
    if (status || !thread->fiber) return status ? status : sidestack_call(id, args, 1, NULL);
    thread->sleep_function = id + 1;
  }
  return sidestack_call(thread->sleep_function - 1, args, 1, NULL);
}

uint64_t sidestack_fiber(void) { return ss_thread_state.fiber_id; }

int sidestack_stack(uintptr_t *base, uintptr_t *limit) {
  const ss_thread *thread = &ss_thread_state;
  *base = thread->stack_limit ? thread->stack_base : 0;
  *limit = thread->stack_limit;
  if (thread->stack_limit) return SIDESTACK_OK;
  return ss_api_error(SIDESTACK_REFUSED, "no_fiber", "no fiber runs on this thread");
}
