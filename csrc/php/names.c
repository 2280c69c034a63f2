/*
 * gethostbyname() and gethostbynamel() have their answer in a buffer of what PHP takes for a thread, which the next one of them
 * frees: fibers of one request make them one after another.
 */
#include "names.h"

#include <unistd.h>

#include "inner.h"

static zif_handler by_name, by_name_list;

/* [fiber; may suspend; may raise] */
static void alone(zif_handler handler, INTERNAL_FUNCTION_PARAMETERS) {
  ssphp_context *context = ssphp_current();
  while (context->naming) {
    if (usleep(1000) == 0) continue;
    /* Cancelled: as if there were no such name. The request learns why when it next looks up. */
    if (handler == by_name && ZEND_NUM_ARGS() > 0) RETURN_COPY_DEREF(ZEND_CALL_ARG(execute_data, 1));
    RETURN_FALSE;
  }
  volatile bool bailed = false;
  context->naming = 1;
  zend_try {
    handler(INTERNAL_FUNCTION_PARAM_PASSTHRU);
  } zend_catch {
    bailed = true;
  } zend_end_try();
  context->naming = 0;
  if (bailed) zend_bailout();
}

/* [fiber; may suspend; may raise] */
static ZEND_NAMED_FUNCTION(one_by_name) { alone(by_name, INTERNAL_FUNCTION_PARAM_PASSTHRU); }
static ZEND_NAMED_FUNCTION(one_by_name_list) { alone(by_name_list, INTERNAL_FUNCTION_PARAM_PASSTHRU); }

/* [PHP's start; no; no] */
static void stand_before(const char *name, size_t len, zif_handler handler, zif_handler *former) {
  zend_internal_function *function = zend_hash_str_find_ptr(CG(function_table), name, len);
  if (function == NULL) return;
  *former = function->handler;
  function->handler = handler;
}

void ssphp_names_open(void) {
  stand_before(ZEND_STRL("gethostbyname"), one_by_name, &by_name);
  stand_before(ZEND_STRL("gethostbynamel"), one_by_name_list, &by_name_list);
}
