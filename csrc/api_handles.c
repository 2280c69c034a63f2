/* The C API's handles, callbacks and spawned fibers. All of them are keys of one table, the interpreter's. */
#include "api.h"
#include "native.h"
#include "way_in.h"

ss_crossing ss_cross_handle_make, ss_cross_handle_use, ss_cross_handle_kind, ss_cross_handle_take,
    ss_cross_callback_make, ss_cross_callback_find;

SS_PUBLIC(handle_make);
SS_PUBLIC(handle_use);
SS_PUBLIC(handle_kind);
SS_PUBLIC(handle_release);
SS_PUBLIC(callback);
SS_PUBLIC(callback_release);
SS_PUBLIC(callback_call);
SS_PUBLIC(spawn);
SS_PUBLIC(join);
SS_PUBLIC(cancel);

/* ---- handles ---- */

int sidestack_handle_make(void *pointer, const sidestack_kind *kind, sidestack_handle *handle) {
  int status = ss_api_on_fiber();
  *handle = 0;
  return status ? status : (int)ss_cross((uintptr_t)pointer, (uintptr_t)kind, (uintptr_t)handle, 0, ss_cross_handle_make);
}

int sidestack_handle_use(sidestack_handle handle, const sidestack_kind *kind, void **pointer) {
  int status = ss_api_on_fiber();
  *pointer = NULL;
  return status ? status : (int)ss_cross(handle, (uintptr_t)kind, (uintptr_t)pointer, 0, ss_cross_handle_use);
}

int sidestack_handle_kind(sidestack_handle handle, const sidestack_kind **kind) {
  int status = ss_api_on_fiber();
  *kind = NULL;
  return status ? status : (int)ss_cross(handle, (uintptr_t)kind, 0, 0, ss_cross_handle_kind);
}

/* [fiber; as destroy(); no] */
static int release(uint64_t key, int callback) {
  int status = ss_api_on_fiber();
  if (status) return status;
  ss_taken taken = {0};
  status = (int)ss_cross(key, (uintptr_t)callback, (uintptr_t)&taken, 0, ss_cross_handle_take);
  /* On the fiber's stack, like all code of the guest's. */
  if (status == SIDESTACK_OK && taken.destroy) taken.destroy(taken.pointer);
  return status;
}

int sidestack_handle_release(sidestack_handle handle) { return release(handle, 0); }

/* ---- callbacks ---- */

int ss_api_on_native_fiber(void) {
  int refused = ss_api_on_fiber();
  if (refused || ss_thread_state.guest == &ss_native_anchor) return refused;
  return ss_api_error(SIDESTACK_REFUSED, "not_native", "only where the guest is C can C functions be called back");
}

/* [fiber; no; no] */
static int make(const ss_callback *callback, sidestack_value *value) {
  *value = sidestack_nil();
  int status = ss_api_on_native_fiber();
  if (status) return status;
  if (!callback->function) return ss_api_error(SIDESTACK_REFUSED, "null_argument", "a callback without a function");
  uint64_t key = 0;
  status = (int)ss_cross((uintptr_t)callback, (uintptr_t)&key, 0, 0, ss_cross_callback_make);
  if (status) return status;
  value->tag = SS_FUNCTION;
  value->as.key = key;
  return SIDESTACK_OK;
}

int sidestack_callback(sidestack_function function, void *data, void (*destroy)(void *), sidestack_value *callback) {
  ss_callback own = {function, data, destroy, 0};
  return make(&own, callback);
}

static int no_callback(void) { return ss_api_error(SIDESTACK_WRONG_KIND, "wrong_kind", "the value is no function"); }

int sidestack_callback_release(sidestack_value callback) {
  return sidestack_tag_of(&callback) == SS_FUNCTION ? release(callback.as.key, 1) : no_callback();
}

int sidestack_callback_call(sidestack_value callback, const sidestack_value *args, uint32_t nargs,
                            sidestack_results *results) {
  int status = ss_api_on_fiber();
  if (status) return status;
  if (sidestack_tag_of(&callback) != SS_FUNCTION) return no_callback();
  ss_callback found;
  status = (int)ss_cross(callback.as.key, (uintptr_t)&found, 0, 0, ss_cross_callback_find);
  if (status) return status;
  sidestack_results none;
  sidestack_results_init(&none);
  status = ss_api_run(found.function, found.data, args, nargs, results ? results : &none);
  sidestack_results_free(&none);
  return status;
}

/* ---- fibers ---- */

int sidestack_spawn(sidestack_function function, void *data, void (*destroy)(void *), sidestack_handle *task) {
  if (task) *task = 0;
  ss_callback once = {function, data, destroy, 1};
  ss_value callback;
  sidestack_results results;
  sidestack_results_init(&results);
  int status = make(&once, &callback);
  if (status) return status;
  status = sidestack_call_name("sidestack.core.spawn", &callback, 1, &results);
  /* Claimed, the host releases it when the fiber has ended. */
  if (!(callback.tag & SS_CLAIMED)) release(callback.as.key, 1);
  if (status == SIDESTACK_OK && task) {
    *task = results.values[0].as.key;
    sidestack_keep(&results.values[0]);
  }
  sidestack_results_free(&results);
  return status;
}

/* A method of a task. [fiber; may suspend; no] */
static int of_task(const char *method, sidestack_handle task, sidestack_results *results) {
  ss_value object = {SS_OBJECT, 0, {0}};
  object.as.key = task;
  return sidestack_call_name(method, &object, 1, results);
}

int sidestack_join(sidestack_handle task, sidestack_results *results) { return of_task("Task.join", task, results); }

int sidestack_cancel(sidestack_handle task) { return of_task("Task.cancel", task, NULL); }
