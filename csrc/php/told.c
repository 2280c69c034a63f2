/*
 * An exception often comes back: out of a closure, through timeout() or join(), to PHP code of the same request that wants to
 * catch it by its class. The last few that the host was told of are kept; an error with the same message and trace is that
 * very object.
 */
#include "told.h"

#include <string.h>

/* [fiber; may suspend; may raise] */
static void forget(ssphp_told *told) {
  zend_object *exception = told->exception;
  if (exception == NULL) return;
  told->exception = NULL;
  zend_string_release(told->message);
  zend_string_release(told->trace);
  OBJ_RELEASE(exception);
}

/* [fiber; may suspend; may raise] */
void ssphp_told_forget(ssphp_context *context) {
  for (int i = 0; i < SSPHP_TOLD; i++) forget(&context->told[i]);
}

/* [fiber; may suspend; may raise] */
void ssphp_told_keep(zend_object *exception, zend_string *message, zend_string *trace) {
  ssphp_context *context = ssphp_current();
  ssphp_told *told = &context->told[context->ntold++ % SSPHP_TOLD];
  forget(told);
  GC_ADDREF(exception);
  told->exception = exception;
  told->message = zend_string_copy(message);
  told->trace = zend_string_copy(trace);
}

/* [fiber; no; no] */
const ssphp_told *ssphp_told_of(const zend_object *exception) {
  ssphp_context *context = ssphp_current();
  for (int i = 0; i < SSPHP_TOLD; i++)
    if (context->told[i].exception == exception) return &context->told[i];
  return NULL;
}

/* [any; no; no] */
static bool same(const ss_value *value, const zend_string *text) {
  return value->tag == SS_STRING && value->len == ZSTR_LEN(text) && memcmp(value->as.bytes, ZSTR_VAL(text), value->len) == 0;
}

/* [fiber; no; no] */
zend_object *ssphp_told_before(const ss_value values[SS_ERROR_VALUES]) {
  ssphp_context *context = ssphp_current();
  for (int i = 0; i < SSPHP_TOLD; i++) {
    ssphp_told *told = &context->told[i];
    if (told->exception != NULL && same(&values[1], told->message) && same(&values[2], told->trace)) return told->exception;
  }
  return NULL;
}
