/* See worker.h. */
#include "worker.h"

#include <string.h>

#include "opcache.h"

#include "ext/spl/spl_exceptions.h"
#include "ext/standard/basic_functions.h"
#include "php_main.h"
#include "php_output.h"
#include "php_variables.h"

/* Extensions that keep something of a request and take "the request" for HTTP's. */
static const char *const reset[] = {"filter", "session"};

static void each_reset(int startup) {
  for (size_t i = 0; i < sizeof reset / sizeof *reset; i++) {
    zend_module_entry *module = zend_hash_str_find_ptr(&module_registry, reset[i], strlen(reset[i]));
    if (!module) continue;
    if (startup && module->request_startup_func) module->request_startup_func(module->type, module->module_number);
    if (!startup && module->request_shutdown_func) module->request_shutdown_func(module->type, module->module_number);
  }
}

/* Output, headers and body of a request are ready; superglobals are its own. [fiber; may suspend: the body; bails out] */
static void begin(void) {
  for (int i = 0; i < NUM_TRACK_VARS; i++) zval_ptr_dtor_nogc(&PG(http_globals)[i]);
  zend_hash_str_del(&EG(symbol_table), ZEND_STRL("_SESSION"));
  php_output_activate();
  PG(header_is_being_sent) = 0;
  PG(connection_status) = PHP_CONNECTION_NORMAL;
  EG(exit_status) = 0;
  sapi_activate();
  SG(sapi_started) = 1;
  if (PG(expose_php)) sapi_add_header(SAPI_PHP_VERSION_HEADER, sizeof(SAPI_PHP_VERSION_HEADER) - 1, 1);
  if (PG(output_handler) && *PG(output_handler)) {
    zval handler;
    ZVAL_STRING(&handler, PG(output_handler));
    php_output_start_user(&handler, 0, PHP_OUTPUT_HANDLER_STDFLAGS);
    zval_ptr_dtor(&handler);
  } else if (PG(output_buffering)) {
    php_output_start_user(NULL, PG(output_buffering) > 1 ? (size_t)PG(output_buffering) : 0, PHP_OUTPUT_HANDLER_STDFLAGS);
  } else if (PG(implicit_flush)) {
    php_output_set_implicit_flush(1);
  }
  php_hash_environment();
  /* Those that PHP makes when a script that uses them is compiled: this one was, for the first request. */
  static const char *const made[] = {"_SERVER", "_REQUEST"};
  for (size_t i = 0; i < sizeof made / sizeof *made; i++) zend_is_auto_global_str(made[i], strlen(made[i]));
  /* $_ENV is the process's: what the script put there at its boot stays. */
  zend_auto_global *env = zend_hash_str_find_ptr(CG(auto_globals), ZEND_STRL("_ENV"));
  if (env && zend_hash_str_exists(&EG(symbol_table), ZEND_STRL("_ENV"))) env->armed = 0;
  each_reset(1);
}

/* Ends the response, and what PHP has of the request. [fiber; may suspend; no] */
static void end(void) {
  php_call_shutdown_functions();
  php_free_shutdown_functions();
  zend_try { php_output_end_all(); } zend_end_try();
  each_reset(0);
  zend_try { php_output_deactivate(); } zend_end_try();
  SG(post_read) = 1; /* nobody wants the rest of the body */
  /* The copy of the body behind php://input goes, unless the script kept the stream. */
  php_stream *body = SG(request_info).request_body;
  zend_try { sapi_deactivate(); } zend_end_try();
  if (body && body->res && GC_REFCOUNT(body->res) == 1) {
    int kept = 0;
    zend_resource *resource;
    ZEND_HASH_FOREACH_PTR(&EG(regular_list), resource) {
      if (resource->type != php_file_le_stream() || resource->ptr == NULL) continue;
      if (strcmp(((php_stream *)resource->ptr)->ops->label, "Input") == 0) kept = 1;
    } ZEND_HASH_FOREACH_END();
    if (!kept) zend_list_close(body->res);
  }
  if (PG(last_error_message)) {
    zend_string_release(PG(last_error_message));
    PG(last_error_message) = NULL;
    if (PG(last_error_file)) zend_string_release(PG(last_error_file));
    PG(last_error_file) = NULL;
  }
  zend_set_memory_limit(PG(memory_limit));
}

/* An exception that the callable let out: as at the end of a script. exit() goes on and ends the worker. [fiber; may suspend; no] */
static void uncaught(void) {
  if (!EG(exception) || zend_is_unwind_exit(EG(exception)) || zend_is_graceful_exit(EG(exception))) return;
  if (Z_TYPE(EG(user_exception_handler)) != IS_UNDEF) zend_user_exception_handler();
  if (EG(exception) && !zend_is_unwind_exit(EG(exception)) && !zend_is_graceful_exit(EG(exception)))
    zend_exception_error(EG(exception), E_ERROR);
}

/* [fiber; may suspend; bails out] */
static void serve(zend_fcall_info *info, zend_fcall_info_cache *cache) {
  zval result;
  ZVAL_UNDEF(&result);
  info->retval = &result;
  if (zend_call_function(info, cache) == SUCCESS) zval_ptr_dtor(&result);
  uncaught();
}

ZEND_FUNCTION(frankenphp_handle_request) {
  zend_fcall_info info;
  zend_fcall_info_cache cache;
  ZEND_PARSE_PARAMETERS_START(1, 1)
    Z_PARAM_FUNC(info, cache)
  ZEND_PARSE_PARAMETERS_END();
  ssphp_page *page = ssphp_page_here();
  if (!page || !page->worker) {
    zend_throw_exception(spl_ce_RuntimeException, "frankenphp_handle_request() is for worker scripts", 0);
    RETURN_THROWS();
  }
  /* What the script has said and made since it began, or since the last request, is over. */
  zend_unset_timeout();
  HashTable *registered = BG(user_shutdown_function_names);
  BG(user_shutdown_function_names) = NULL;
  if (page->idle && SG(sapi_started)) end();
  int more = ssphp_page_next(page, ssphp_opcache_left_out(ssphp_current()));
  begin();
  if (more != 1) {
    BG(user_shutdown_function_names) = registered;
    RETURN_FALSE;
  }
  zend_set_timeout(INI_INT("max_execution_time"), 0);
  serve(&info, &cache);
  /* After exit() the script unwinds, once the response has ended. */
  zend_object *leaving = EG(exception);
  EG(exception) = NULL;
  end();
  EG(exception) = leaving;
  ssphp_page_forget(page);
  BG(user_shutdown_function_names) = registered;
  RETURN_TRUE;
}
