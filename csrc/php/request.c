/*
 * Requests.
 *
 * A request begins with a run, and ends when no fiber runs in its context any more and the host holds none of its values:
 * usually at the end of that run, else at the end of whichever run or release was the last to need it. Its shutdown
 * functions and destructors run there, on that fiber.
 *
 * All that calls PHP has a base frame of its own below it, because the engine takes an exception without any frame for the
 * end of the request.
 */
#include "request.h"

#include <string.h>

#include "context.h"
#include "memory.h"
#include "opcache.h"
#include "page.h"
#include "refs.h"
#include "sapi.h"
#include "swap.h"
#include "timer.h"
#include "told.h"
#include "ext/standard/basic_functions.h"
#include "ext/standard/head.h"
#include "php_main.h"

static zend_function base_function = {ZEND_INTERNAL_FUNCTION};

/* [fiber; no; may raise: memory] */
static void push_base(void) {
  zend_execute_data *frame = zend_vm_stack_push_call_frame(ZEND_CALL_TOP_FUNCTION, &base_function, 0, NULL);
  frame->opline = NULL;
  frame->return_value = NULL;
  frame->call = NULL;
  frame->prev_execute_data = NULL;
  EG(current_execute_data) = frame;
}

/* Something at a run's beginning that may find memory short: then the run leaves its request. [fiber; may suspend; no] */
static bool has_memory_for(ssphp_run *run, void (*begin)(void)) {
  volatile bool good = true;
  zend_first_try {
    begin();
  } zend_catch {
    good = false;
  } zend_end_try();
  if (!good) ssphp_request_leave(run);
  return good;
}

/* [fiber; no; may raise: memory] */
static void begun(void) {
  ssphp_opcache_started(ssphp_current());
  push_base();
}

/* [fiber; may suspend; no] */
bool ssphp_request_begin(ssphp_run *run) {
  ssphp_context *context = ssphp_context_take(run->home);
  if (context == NULL) return false;
  run->context = context;
  context->occupant = run;
  context->largest = run->fiber;
  context->fibers = 1;
  context->open = 1;
  context->expires = UINT64_MAX;
  EG(bailout) = NULL;
  ssphp_stack_bounds();
  ssphp_opcache_enter(context);
  ssphp_sapi_begin(run);
  if (php_request_startup() == FAILURE) {
    ssphp_request_leave(run);
    return false;
  }
  PG(during_request_startup) = 0;
  ssphp_memory_limit();
  return has_memory_for(run, begun);
}

/* What a fiber beside the request's first has of its own. [fiber; no; may raise: memory] */
static void push_stack(void) {
  zend_vm_stack_init_ex(ZEND_FIBER_VM_STACK_SIZE);
  EG(main_fiber_context) = EG(current_fiber_context) = ecalloc(1, sizeof(zend_fiber_context));
  EG(current_fiber_context)->status = ZEND_FIBER_STATUS_RUNNING;
  push_base();
}

/* [fiber; no; no] */
bool ssphp_request_join(ssphp_run *run, ssphp_context *context) {
  ssphp_load(run->home, context);
  run->context = context;
  context->fibers++;
  ssphp_occupy_anew(run);
  ssphp_timer_enter(run);
  return has_memory_for(run, push_stack);
}

/* [fiber; may suspend; no] */
static void request_end(ssphp_run *run) {
  ssphp_context *context = run->context;
  /* A bailout while a Fiber was being made leaves that Fiber's. */
  ssphp_stack_bounds();
  zend_first_try {
    ssphp_told_forget(context);
    ssphp_openssl_forget();
  } zend_end_try();
  php_request_shutdown(NULL);
  memset(context->told, 0, sizeof(context->told)); /* what shutdown functions added went with the heap */
  ssphp_sapi_end();
  /* Shutdown functions may have started what shares the heap that is gone now: there is nothing left to run. */
  ssphp_refs_sweep(context);
  run->home->used -= context->memory;
  context->memory = 0;
  context->open = 0;
  ssphp_opcache_leave(context);
  context->references = 0;
  ssphp_vacate(run);
  ssphp_context_give(context);
}

/* The main program has ended, and others need its request still: its shutdown functions run, and its response is complete. What the
   others write goes nowhere. [fiber; may suspend; no] */
static void answer(void) {
  zend_first_try {
    php_call_shutdown_functions();
    php_free_shutdown_functions();
  } zend_end_try();
  zend_first_try {
    php_output_end_all();
    php_header();
  } zend_end_try();
  ssphp_page *page = ssphp_page_here();
  if (page != NULL) ssphp_page_finish(page, !page->worker);
}

/* [fiber; may suspend; no] */
void ssphp_request_leave(ssphp_run *run) {
  ssphp_context *context = run->context;
  /* Shutdown functions run before it is decided: they may start others, or wait for them. */
  if (run->task == SSPHP_MAIN && !(context->fibers == 1 && context->references == 0)) answer();
  if (context->fibers == 1 && context->references == 0) {
    request_end(run);
    context->fibers = 0;
    return;
  }
  context->fibers--;
  zend_first_try {
    if (EG(vm_stack) != NULL) zend_vm_stack_destroy();
    if (EG(main_fiber_context) != NULL) efree(EG(main_fiber_context));
  } zend_end_try();
  ssphp_vacate(run);
}
