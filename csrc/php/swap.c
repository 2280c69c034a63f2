/*
 * Switches. What PHP takes for a thread, a context, is more than TSRM's storage: some words of PHP are plain thread-local
 * variables. The list is the build's (build/php.sh fails where libphp has a thread-local variable that is not named there),
 * and each is one of
 *
 *   of a request     ssphp_words: saved and loaded with the context; and so is what libxml2 and OpenSSL keep by thread (xml.c,
 *                    openssl.c)
 *   of the thread    pcre's general context and JIT stack, buffers of crypt(): used and done with between two switches
 *
 * Fibers of one context share all that but the part of the executor's state that belongs to a C stack: what PHP itself
 * exchanges when it switches to a Fiber, and the exception that is under way.
 *
 * Both are lazy: a context stays loaded, and a run keeps the executor, until another one is wanted.
 */
#include "swap.h"

#include <pthread.h>

#include "../signals.h"
#include "timer.h"
#include "zend_call_stack.h"

/* Static in PHP's sources; build/php.sh makes them visible. */
extern pthread_key_t tls_key;
extern TSRM_TLS zend_string *spl_autoload_extensions;
extern TSRM_TLS HashTable *spl_autoload_functions;
extern TSRM_TLS void *cctx, *mctx, *mdata;
extern TSRM_TLS bool mdata_used;
extern TSRM_TLS HashTable char_tables;
extern TSRM_TLS uint32_t zend_fiber_switch_blocking;

typedef struct executor {
  zend_vm_stack vm_stack;
  zval *vm_stack_top, *vm_stack_end;
  size_t vm_stack_page_size;
  zend_execute_data *current_execute_data;
  zend_class_entry *fake_scope;
  JMP_BUF *bailout;
  void *stack_base, *stack_limit;
  zend_fiber_context *main_fiber_context, *current_fiber_context;
  zend_fiber *active_fiber;
  zend_object *exception, *prev_exception;
  const zend_op *opline_before_exception;
  zend_class_entry *exception_class;
  HashTable *in_autoload;
  int error_reporting;
  uint32_t jit_trace_num;
  zend_error_handling_t error_handling;
} executor;

_Static_assert(sizeof(executor) <= sizeof(((ssphp_run *)0)->executor), "SSPHP_EXECUTOR_WORDS");

/* [interpreter thread; no; no] */
static void words_save(ssphp_words *words) {
  words->spl_autoload_extensions = spl_autoload_extensions;
  words->spl_autoload_functions = spl_autoload_functions;
  words->pcre_compile = cctx;
  words->pcre_match = mctx;
  words->pcre_data = mdata;
  words->pcre_data_used = mdata_used;
  words->pcre_tables = char_tables;
  words->fiber_switch_blocking = zend_fiber_switch_blocking;
  ssphp_xml_save(&words->xml);
  ssphp_openssl_save(&words->openssl);
}

/* [interpreter thread; no; no] */
static void words_load(ssphp_words *words) {
  spl_autoload_extensions = words->spl_autoload_extensions;
  spl_autoload_functions = words->spl_autoload_functions;
  cctx = words->pcre_compile;
  mctx = words->pcre_match;
  mdata = words->pcre_data;
  mdata_used = words->pcre_data_used;
  char_tables = words->pcre_tables;
  zend_fiber_switch_blocking = words->fiber_switch_blocking;
  ssphp_xml_load(&words->xml);
  ssphp_openssl_load(&words->openssl);
}

/* [fiber; no; no] */
void ssphp_words_clear(void) {
  ssphp_words none = {0};
  ssphp_xml_fresh(&none.xml);
  words_load(&none);
}

/* [interpreter thread; no; no] */
void ssphp_load(ssphp *home, ssphp_context *context) {
  if (home->loaded == context) return;
  if (home->loaded != NULL) words_save(&home->loaded->words);
  home->loaded = NULL; /* a tick in between finds none */
  SS_BARRIER();
  void *tsrm = context != NULL ? context->tsrm : NULL;
  if (context != NULL) words_load(&context->words);
  _tsrm_ls_cache = tsrm;
  pthread_setspecific(tls_key, tsrm);
  SS_BARRIER();
  home->loaded = context;
}

/* [interpreter thread; no; no] */
static void executor_save(ssphp_run *run) {
  executor *e = (executor *)run->executor;
  e->vm_stack = EG(vm_stack);
  e->vm_stack_top = EG(vm_stack_top);
  e->vm_stack_end = EG(vm_stack_end);
  e->vm_stack_page_size = EG(vm_stack_page_size);
  e->current_execute_data = EG(current_execute_data);
  e->fake_scope = EG(fake_scope);
  e->bailout = EG(bailout);
  e->stack_base = EG(stack_base);
  e->stack_limit = EG(stack_limit);
  e->main_fiber_context = EG(main_fiber_context);
  e->current_fiber_context = EG(current_fiber_context);
  e->active_fiber = EG(active_fiber);
  e->exception = EG(exception);
  e->prev_exception = EG(prev_exception);
  e->opline_before_exception = EG(opline_before_exception);
  e->exception_class = EG(exception_class);
  e->in_autoload = EG(in_autoload);
  e->error_reporting = EG(error_reporting);
  e->jit_trace_num = EG(jit_trace_num);
  e->error_handling = EG(error_handling);
}

/* [interpreter thread; no; no] */
static void executor_load(const executor *e) {
  EG(vm_stack) = e->vm_stack;
  EG(vm_stack_top) = e->vm_stack_top;
  EG(vm_stack_end) = e->vm_stack_end;
  EG(vm_stack_page_size) = e->vm_stack_page_size;
  EG(current_execute_data) = e->current_execute_data;
  EG(fake_scope) = e->fake_scope;
  EG(bailout) = e->bailout;
  EG(stack_base) = e->stack_base;
  EG(stack_limit) = e->stack_limit;
  EG(main_fiber_context) = e->main_fiber_context;
  EG(current_fiber_context) = e->current_fiber_context;
  EG(active_fiber) = e->active_fiber;
  EG(exception) = e->exception;
  EG(prev_exception) = e->prev_exception;
  EG(opline_before_exception) = e->opline_before_exception;
  EG(exception_class) = e->exception_class;
  EG(in_autoload) = e->in_autoload;
  EG(error_reporting) = e->error_reporting;
  EG(jit_trace_num) = e->jit_trace_num;
  EG(error_handling) = e->error_handling;
}

/* [interpreter thread; no; no] */
void ssphp_occupy(ssphp_run *run) {
  ssphp_context *context = run->context;
  if (context->occupant == run) return;
  if (context->occupant != NULL) executor_save(context->occupant);
  executor_load((executor *)run->executor);
  context->occupant = run;
}

/* [fiber; no; no] */
void ssphp_occupy_anew(ssphp_run *run) {
  ssphp_context *context = run->context;
  if (context->occupant != NULL) executor_save(context->occupant);
  executor fresh = {.error_reporting = EG(error_reporting), .error_handling = EH_NORMAL};
  executor_load(&fresh);
  context->occupant = run;
  ssphp_stack_bounds();
}

/* [fiber; no; no] */
void ssphp_stack_bounds(void) {
  char *base = (char *)ss_thread_state.stack_base, *limit = (char *)ss_thread_state.stack_limit + SSPHP_STACK_RESERVE;
  if (EG(max_allowed_stack_size) > 0) {
    char *asked = zend_call_stack_limit(base, (size_t)EG(max_allowed_stack_size), EG(reserved_stack_size));
    if (asked > limit) limit = asked;
  }
  EG(stack_base) = base;
  /* -1 turns the checks off, as in PHP itself. */
  EG(stack_limit) = EG(max_allowed_stack_size) < 0 ? NULL : limit;
}

/* [interpreter thread; no; no] */
const zend_execute_data *ssphp_frame(const ssphp_run *run) {
  if (run->context->occupant != run) return ((const executor *)run->executor)->current_execute_data;
  const zend_executor_globals *globals = (const void *)((const char *)run->context->tsrm + executor_globals_offset);
  return globals->current_execute_data;
}

/* [fiber; no; no] */
void ssphp_vacate(ssphp_run *run) {
  if (run->context->occupant == run) run->context->occupant = NULL;
  run->context = NULL;
}

/* [interpreter thread; no; no] */
void ssphp_enter(ssphp_run *run) {
  ssphp *home = run->home;
  home->run = run;
  ss_thread_state.guest = home;
  if (run->context == NULL) return;
  ssphp_load(home, run->context);
  ssphp_occupy(run);
  ssphp_timer_enter(run);
  /* What it is to be told did not reach it while another context was loaded. */
  if (ss_thread_state.interrupt != 0) zend_atomic_bool_store_ex(&EG(vm_interrupt), true);
}

/* [interpreter thread; no; no] */
void ssphp_leave(ssphp *home) {
  ssphp_context *context = home->loaded;
  if (context == NULL || !context->open) return;
  size_t used = zend_memory_usage(0); /* not what is mapped: a chunk is 2 MiB, mostly untouched */
  home->used += used - context->memory;
  context->memory = used;
  if (home->used > home->memory) home->over = 1;
}
