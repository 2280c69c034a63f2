/*
 * Host calls.
 *
 * The handler encodes the arguments, crosses, and does what the status says: give the result, throw, unwind, or
 * (SS_CALL_GUEST, any number of times) call a PHP function on this same C stack and answer. A function that is left by
 * exit() or by a fatal error takes the request with it: the host is told SS_KILL, and once it has given up the call the
 * request goes on dying.
 */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "declare.h"
#include "errors.h"
#include "library.h"
#include "refs.h"
#include "timer.h"
#include "values.h"

typedef enum dying { ALIVE, EXITING, BAILING } dying;

/* Calls the function that the host asks for, and answers. [fiber; may suspend; no: it says how it was left] */
static int call_guest(ss_call *call, int by_reference, dying *state, zend_object **exit) {
  ssphp_slot *slot = ssphp_ref(ssphp_here(), call->function);
  ssphp_failure failure;
  if (*state != ALIVE) return ss_host_answer(call, SS_KILL, NULL, 0);
  if (slot == NULL || slot->context != ssphp_current()) {
    ssphp_failure_static("wrong_request", "a function of another request", &failure);
    return ss_host_answer(call, SS_ERROR, failure.values, SS_ERROR_VALUES);
  }
  volatile int next = 0;
  ssphp_encoded results;
  zval function, result;
  ZVAL_COPY(&function, &slot->value);
  ZVAL_UNDEF(&result);
  ssphp_encode_begin(&results, by_reference, 0);
  zend_try {
    ssphp_call(&function, call->values, call->count, &result);
    if (EG(exception) == NULL) ssphp_encode(&results, &result);
  } zend_catch {
    *state = BAILING;
  } zend_end_try();
  zend_object *exception = EG(exception);
  /* A kill reaches down to here. The host says whether further out too. */
  ssphp_run *run = ssphp_here()->run;
  int killed = run->killed;
  run->killed = 0;
  if (*state == BAILING) return ss_host_answer(call, SS_KILL, NULL, 0);
  if (exception != NULL && killed) {
    zend_clear_exception();
    next = ss_host_answer(call, SS_KILL, NULL, 0);
  } else if (exception != NULL && (zend_is_unwind_exit(exception) || zend_is_graceful_exit(exception))) {
    /* Kept: while the host goes on there is no exception under way. */
    *state = EXITING;
    *exit = exception;
    GC_ADDREF(exception);
    zend_clear_exception();
    next = ss_host_answer(call, SS_KILL, NULL, 0);
  } else if (exception != NULL) {
    GC_ADDREF(exception);
    zend_clear_exception();
    ssphp_failure_of(exception, &failure);
    if (EG(exception) != NULL) { /* killed meanwhile: it is over all the same */
      zend_clear_exception();
      run->killed = 0;
    }
    next = ss_host_answer(call, SS_ERROR, failure.values, SS_ERROR_VALUES);
    ssphp_failure_end(&failure);
    OBJ_RELEASE(exception);
  } else {
    next = ss_host_answer(call, SS_OK, results.values, results.count);
  }
  ssphp_encode_end(&results);
  zval_ptr_dtor(&result);
  zval_ptr_dtor(&function);
  return next;
}

/* [fiber; may suspend; may raise] */
void ssphp_call(zval *function, const ss_value *args, uint32_t nargs, zval *result) {
  zval few[SSPHP_SMALL], *params = nargs <= SSPHP_SMALL ? few : safe_emalloc(nargs, sizeof(zval), 0);
  uint32_t made = 0;
  while (made < nargs && EG(exception) == NULL) args = ssphp_decode(args, &params[made++]);
  if (EG(exception) == NULL) {
    zend_fcall_info info = {.size = sizeof(info), .retval = result, .params = params, .param_count = nargs};
    ZVAL_COPY_VALUE(&info.function_name, function);
    if (zend_call_function(&info, NULL) == FAILURE && EG(exception) == NULL)
      ssphp_throw("not_found", "what the host calls is not callable");
  }
  for (uint32_t i = 0; i < made; i++) zval_ptr_dtor(&params[i]);
  if (params != few) efree(params);
}

/* What the call gave, as a value: nothing, one, or a list. [fiber; no; may raise] */
static void give(const ss_call *call, zval *result) {
  if (call->count == 1) {
    ssphp_decode(call->values, result);
  } else if (call->count > 1) {
    const ss_value *from = call->values;
    array_init_size(result, call->count);
    for (uint32_t i = 0; i < call->count; i++) {
      zval item;
      from = ssphp_decode(from, &item);
      zend_hash_next_index_insert_new(Z_ARRVAL_P(result), &item);
    }
  }
}

/* PHP's checks of the stack mean the stack that this runs on. [fiber; no; no] */
static void check_bounds(void) {
#ifdef SSPHP_CHECKS
  const char *here = __builtin_frame_address(0);
  const char *limit = EG(stack_limit), *base = EG(stack_base);
  if (limit == NULL || (here < base && here > limit - SSPHP_STACK_RESERVE)) return;
  dprintf(STDERR_FILENO, "sidestack: PHP's stack is not %p to %p: %p\n", (const void *)limit, (const void *)base,
          (const void *)here);
  abort();
#endif
}

/* [fiber; may suspend; may raise] */
void ssphp_host_call(uint32_t id, int by_reference, zval *object, zval *args, uint32_t nargs, zval *result) {
  ssphp_encoded run;
  check_bounds();
  ssphp_encode_begin(&run, by_reference, 0);
  bool fits = object == NULL || ssphp_encode(&run, object);
  for (uint32_t i = 0; fits && i < nargs; i++) fits = ssphp_encode(&run, &args[i]);
  if (!fits) {
    ssphp_encode_end(&run);
    return;
  }
  dying state = ALIVE;
  zend_object *exit = NULL;
  ss_call call;
  ss_call_begin(&call);
  int status = ss_host_call(id, run.values, run.count, &call);
  while (status == SS_CALL_GUEST) status = call_guest(&call, by_reference, &state, &exit);
  ssphp_encode_end(&run);
  if (state == BAILING) {
    ss_host_end(&call);
    zend_bailout();
  }
  if (status == SS_KILL) {
    ssphp_here()->run->killed = 1;
    if (exit != NULL) OBJ_RELEASE(exit);
    ssphp_kill();
  } else if (state == EXITING) {
    zend_throw_exception_internal(exit);
  } else if (status == SS_OK) {
    give(&call, result);
  } else {
    ssphp_timer_check();
    ssphp_throw_host(call.values);
  }
  ss_host_end(&call);
}

/* The handler of all host functions and methods. [fiber; may suspend; may raise] */
ZEND_NAMED_FUNCTION(ssphp_host_function) {
  uintptr_t packed = (uintptr_t)EX(func)->internal_function.reserved[ssphp_reserved];
  if (ZEND_CALL_INFO(execute_data) & ZEND_CALL_HAS_EXTRA_NAMED_PARAMS) {
    ssphp_throw("bad_argument", "host functions have no named arguments");
    return;
  }
  uint32_t callable = (uint32_t)(packed >> 40);
  if (callable != 0 && callable <= ZEND_NUM_ARGS() && !ssphp_closure(ZEND_CALL_ARG(execute_data, callable))) return;
  zval *object = Z_TYPE(EX(This)) == IS_OBJECT ? &EX(This) : NULL;
  ssphp_host_call((uint32_t)packed, (packed >> 32 & SS_BY_REFERENCE) != 0, object, ZEND_CALL_ARG(execute_data, 1),
                  ZEND_NUM_ARGS(), return_value);
}
