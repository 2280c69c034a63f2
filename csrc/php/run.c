/*
 * Runs: what a fiber does, from its first instruction to its last.
 *
 *   1. a context, with a request that starts; or that of the function that is called
 *   2. the task, protected: a bailout ends it
 *   3. results, or the error, are encoded apart from the request
 *   4. the request ends, unless others need it: its shutdown functions and destructors run, which may suspend
 *   5. ss_return(); where the results refer to values of the request, this comes before 4
 */
#include "context.h"
#include "errors.h"
#include "folders.h"
#include "host.h"
#include "memory.h"
#include "opcache.h"
#include "refs.h"
#include "request.h"
#include "script.h"
#include "swap.h"
#include "values.h"

/* What a task came to; the values outlive the request. */
typedef struct outcome {
  int status;
  ssphp_encoded values;
} outcome;

/* [fiber; no; may raise: memory] */
static void outcome_error(outcome *out, const ssphp_failure *failure) {
  out->status = SS_ERROR;
  for (int i = 0; i < SS_ERROR_VALUES; i++) ssphp_encode_text(&out->values, &failure->values[i]);
  out->values.count = SS_ERROR_VALUES;
}

/* [fiber; no; may raise: memory] */
static void outcome_static(outcome *out, const char *code, const char *message) {
  ssphp_failure failure;
  ssphp_failure_static(code, message, &failure);
  outcome_error(out, &failure);
}

/* Starts over: the values made so far are not the outcome. [fiber; may suspend; may raise] */
static void outcome_reset(outcome *out) {
  ssphp_encode_end(&out->values);
  ssphp_encode_begin(&out->values, out->values.by_reference, 1);
}

/* The exception that the task was left by, if it was. [fiber; no; may raise: memory] */
static void outcome_exception(ssphp_run *run, outcome *out) {
  zend_object *exception = EG(exception);
  if (exception == NULL) return;
  GC_ADDREF(exception);
  zend_clear_exception();
  outcome_reset(out);
  if (run->killed) {
    out->status = SS_KILL;
  } else if (zend_is_unwind_exit(exception) || zend_is_graceful_exit(exception)) {
    outcome_static(out, "exit", "the script called exit()");
  } else {
    ssphp_failure failure;
    ssphp_failure_of(exception, &failure);
    outcome_error(out, &failure);
    ssphp_failure_end(&failure);
  }
  OBJ_RELEASE(exception);
}

/* The task itself, in a request. [fiber; may suspend; may raise] */
static void task(ssphp_run *run, outcome *out) {
  zval result;
  ZVAL_UNDEF(&result);
  switch (run->task) {
    case SSPHP_LOAD:
      ssphp_script_load(run);
      break;
    case SSPHP_CALL:
      ssphp_script_call(run, &result);
      break;
    case SSPHP_EVAL:
      ssphp_script_eval(run, &result);
      break;
    case SSPHP_MAIN:
      ssphp_script_main(run, &result);
      break;
    case SSPHP_CALL_FUNCTION: {
      zval function;
      ssphp_slot *slot = ssphp_ref(run->home, run->slot);
      if (slot == NULL) {
        ssphp_throw("stale", "the function's request has ended");
        break;
      }
      ZVAL_COPY(&function, &slot->value);
      ssphp_call(&function, run->args, run->nargs, &result);
      zval_ptr_dtor(&function);
      break;
    }
    default:
      break;
  }
  if (EG(exception) == NULL && run->task != SSPHP_LOAD) ssphp_encode(&out->values, &result);
  zval_ptr_dtor(&result);
  outcome_exception(run, out);
}

/* [fiber; may suspend; no] */
static void work(ssphp_run *run, outcome *out) {
  volatile bool bailed = false;
  zend_first_try {
    task(run, out);
  } zend_catch {
    bailed = true;
  } zend_end_try();
  if (!bailed) return;
  ssphp_memory_limit(); /* PHP has set its own again, if it was over it */
  zend_first_try {
    outcome_reset(out);
    if (run->killed) {
      out->status = SS_KILL;
    } else {
      ssphp_failure failure;
      ssphp_failure_of_bailout(&failure);
      outcome_error(out, &failure);
      ssphp_failure_end(&failure);
    }
  } zend_catch {
    out->status = SS_KILL;
  } zend_end_try();
}

/* The host has had results that refer to values of the request. [fiber; may suspend; no] */
static void settle(outcome *out) {
  zend_first_try {
    ssphp_encode_end(&out->values);
  } zend_end_try();
}

/* A task that runs in a request. [fiber; may suspend; no] */
static void in_request(ssphp_run *run) {
  outcome out = {.status = SS_OK};
  ssphp_encode_begin(&out.values, run->by_reference, 1);
  ssphp_slot *slot = NULL;
  bool ready = run->task != SSPHP_CALL_FUNCTION   ? ssphp_request_begin(run)
               : (slot = ssphp_ref(run->home, run->slot)) ? ssphp_request_join(run, slot->context)
                                                          : false;
  if (ready) {
    work(run, &out);
    if (out.values.references) {
      run->returned = 1;
      ss_return(out.status, out.values.values, out.values.count);
      settle(&out);
      ssphp_request_leave(run);
      return;
    }
    ssphp_request_leave(run);
  } else {
    outcome_static(&out, run->task == SSPHP_CALL_FUNCTION && slot == NULL ? "stale" : "memory",
                   slot == NULL ? "the request has ended, or cannot begin" : "not enough memory");
  }
  run->returned = 1;
  ss_return(out.status, out.values.values, out.values.count);
  ssphp_encode_end(&out.values);
}

/* Frees a slot of the context that the run has joined. [fiber; may suspend; no] */
static void release_here(const ssphp_run *run, uint64_t slot) {
  zend_first_try {
    ssphp_ref_remove(run->home, slot);
    if (EG(exception) != NULL) zend_clear_exception();
  } zend_end_try();
}

/* Gives slots back, each in its context; the last one ends a request that has outlived its run. [fiber; may suspend; no] */
static void release(ssphp_run *run) {
  for (size_t i = 0; i < run->nslots; i++) {
    ssphp_slot *slot = ssphp_ref(run->home, run->slots[i]);
    if (slot == NULL || !ssphp_request_join(run, slot->context)) continue;
    release_here(run, run->slots[i]);
    ssphp_request_leave(run);
  }
}

/* The host still refers to values of these, and will never ask for one again. [fiber; may suspend; no] */
static void end_open_requests(ssphp_run *run) {
  ssphp_context *context = run->home->contexts;
  while (context != NULL) {
    ssphp_context *next = context->next; /* it may be freed; destructors begin no request */
    if (context->open && context->fibers == 0 && ssphp_request_join(run, context)) {
      ssphp_refs_unclaim(context);
      ssphp_request_leave(run);
    }
    context = next;
  }
}

/* Makes the first context. [fiber; no; no] */
static void start(ssphp_run *run) {
  ssphp_context *context = ssphp_context_take(run->home);
  run->returned = 1;
  if (context != NULL && run->home->functions != NULL) {
    ssphp_opcache_join(run->home);
    ssphp_context_give(context);
    ss_return(SS_OK, NULL, 0);
    return;
  }
  ssphp_failure failure;
  ssphp_failure_static("memory", "not enough memory for an interpreter", &failure);
  ss_return(SS_ERROR, failure.values, SS_ERROR_VALUES);
}

/* [fiber; may suspend; no] */
void ssphp_entry(void *argument) {
  ssphp_run *run = argument;
  switch (run->task) {
    case SSPHP_START:
      start(run);
      return;
    case SSPHP_RELEASE:
      release(run);
      break;
    case SSPHP_COLLECT:
      ssphp_contexts_trim(run->home, 1);
      break;
    case SSPHP_STOP:
      end_open_requests(run);
      ssphp_folders_free(run->home);
      ssphp_contexts_trim(run->home, 0);
      break;
    default:
      in_request(run);
      return;
  }
  run->returned = 1;
  ss_return(SS_OK, NULL, 0);
}
