#include "native.h"

#include "api.h"
#include "barrier.h"
#include "way_in.h"

ss_crossing ss_cross_callback_find, ss_cross_handle_take, ss_cross_handle_any;

char ss_native_anchor;

void **ss_native_cxx_state(void) {
  void *(*globals)(void);
  *(void **)&globals = ss_barrier_runtime("__cxa_get_globals");
  return globals ? globals() : NULL;
}

/* The run failed with this code and message. [fiber; no; no] */
static void fail(ss_value code, ss_value message) {
  ss_value error[SS_ERROR_VALUES] = {code, message, {0}, sidestack_int(0)};
  ss_return(SS_ERROR, error, SS_ERROR_VALUES);
}

struct function_call {
  const ss_native_run *run;
  ss_value result;
  int status;
};

/* [fiber; may suspend; no] */
static int call_function(void *data, const ss_value *args, uint32_t nargs, sidestack_results *results) {
  struct function_call *call = data;
  (void)args, (void)nargs, (void)results;
  call->status = call->run->function(call->run->args, call->run->nargs, &call->result);
  return SIDESTACK_OK;
}

/* The end of a run of a public function. [fiber; no; no] */
static void end(int status, sidestack_results *results) {
  if (status == SIDESTACK_OK) {
    ss_return(SS_OK, (ss_value *)results->values, results->count);
  } else if (status == SIDESTACK_CANCELLED) {
    ss_return(SS_KILL, NULL, 0);
  } else {
    ss_value error[SS_ERROR_VALUES];
    ss_api_error_values(status, error);
    ss_return(SS_ERROR, error, SS_ERROR_VALUES);
  }
  sidestack_results_free(results);
}

/* A function over crossing.h. [fiber; may suspend; no] */
static void run_function(const ss_native_run *run) {
  struct function_call call = {run, {0}, SS_OK};
  sidestack_results none;
  sidestack_results_init(&none);
  int status = ss_api_run(call_function, &call, NULL, 0, &none);
  if (status != SIDESTACK_OK)
    end(status, &none);
  else if (call.status == SS_ERROR)
    fail(sidestack_nil(), call.result);
  else
    ss_return(call.status, &call.result, call.status == SS_OK && call.result.tag != SS_NIL);
}

/* [fiber; may suspend; no] */
static void run_public(sidestack_function function, void *data, const ss_native_run *run) {
  sidestack_results results;
  sidestack_results_init(&results);
  end(ss_api_run(function, data, run->args, run->nargs, &results), &results);
}

/* [fiber; may suspend; no] */
static void run_slot(const ss_native_run *run) {
  ss_callback callback;
  int status = (int)ss_cross(run->slot, (uintptr_t)&callback, 0, 0, ss_cross_callback_find);
  if (status == SIDESTACK_OK) {
    run_public(callback.function, callback.data, run);
  } else {
    sidestack_results none;
    sidestack_results_init(&none);
    end(status, &none);
  }
}

/* The thunk behind the barrier. [fiber; may suspend; no] */
static int call_typed(void *data, const ss_value *args, uint32_t nargs, sidestack_results *results) {
  const ss_native_run *run = data;
  (void)args, (void)nargs;
  ss_value result = {0};
  run->thunk(run->typed, run->scalars, &result);
  if (result.tag == SS_NIL) return SIDESTACK_OK;
  return sidestack_results_set(results, &result, 1);
}

/* What a foreign thread asks for: a host call. [fiber; may suspend; no] */
static int call_host(void *data, const ss_value *args, uint32_t nargs, sidestack_results *results) {
  (void)data;
  if (nargs == 0 || sidestack_tag_of(&args[0]) != SS_INT)
    return sidestack_fail("not_found", "this export is the library's own");
  return sidestack_call((uint32_t)args[0].as.integer, (ss_value *)args + 1, nargs - 1, results);
}

/* [fiber; as destroy(); no] */
static void destroy(const ss_taken *taken) {
  if (taken->destroy) taken->destroy(taken->pointer);
}

/* The host dropped its tokens: callbacks that were made for it go. C's own stay. [fiber; as destroy(); no] */
static void release(const ss_native_run *run) {
  for (size_t i = 0; i < run->nslots; i++) {
    ss_callback callback;
    ss_taken taken = {0};
    int status = (int)ss_cross(run->slots[i], (uintptr_t)&callback, 0, 0, ss_cross_callback_find);
    if (status || !callback.hosts) continue;
    status = (int)ss_cross(run->slots[i], 1, (uintptr_t)&taken, 0, ss_cross_handle_take);
    if (status == SIDESTACK_OK) destroy(&taken);
  }
}

/* What C has not released goes with the interpreter. [fiber; as destroy(); no] */
static void stop(void) {
  uint32_t from = 0;
  for (;;) {
    ss_taken taken = {0};
    int found = (int)ss_cross((uintptr_t)&from, (uintptr_t)&taken, 0, 0, ss_cross_handle_any);
    if (!found) return;
    destroy(&taken);
  }
}

void ss_native_entry(void *data) {
  ss_native_run *run = data;
  switch (run->task) {
    case SS_NATIVE_FUNCTION:
      run_function(run);
      return;
    case SS_NATIVE_PUBLIC:
      run_public(run->callable, run->data, run);
      return;
    case SS_NATIVE_TYPED:
      run_public(call_typed, run, run);
      return;
    case SS_NATIVE_SLOT:
      run_slot(run);
      return;
    case SS_NATIVE_FOREIGN:
      run_public(call_host, NULL, run);
      return;
    case SS_NATIVE_FAIL:
      fail(run->error[0], run->error[1]);
      return;
    case SS_NATIVE_RELEASE:
      release(run);
      break;
    case SS_NATIVE_STOP:
      stop();
      break;
    default:
      break;
  }
  ss_return(SS_OK, NULL, 0);
}
