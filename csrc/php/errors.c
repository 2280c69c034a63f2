/*
 * Errors.
 *
 * What a host function raises reaches PHP code as a Sidestack\Exception (a RuntimeException), or one of its children for
 * cancels and time limits: getCode() gives the host's code, a word. The number by which the host finds its original error
 * again is a private property. Of any other exception the host is told class, message and trace; of its code, if it is
 * something to match on.
 */
#include "errors.h"

#include "memory.h"
#include "told.h"

#include <string.h>

#include "zend_interfaces.h"
#include "zend_smart_str.h"
#include "ext/spl/spl_exceptions.h"

zend_class_entry *ssphp_exception_class, *ssphp_cancelled_class, *ssphp_timeout_class;

/* [PHP's start; no; no] */
static zend_class_entry *declare(const char *name, zend_class_entry *parent) {
  zend_class_entry entry;
  INIT_CLASS_ENTRY_EX(entry, name, strlen(name), NULL);
  return zend_register_internal_class_ex(&entry, parent);
}

/* [PHP's start; no; no] */
void ssphp_errors_register(void) {
  ssphp_exception_class = declare("Sidestack\\Exception", spl_ce_RuntimeException);
  zend_declare_property_long(ssphp_exception_class, ZEND_STRL("hostError"), 0, ZEND_ACC_PRIVATE);
  ssphp_cancelled_class = declare("Sidestack\\CancelledException", ssphp_exception_class);
  ssphp_timeout_class = declare("Sidestack\\TimeoutException", ssphp_exception_class);
}

/* [any; no; no] */
static ss_value text(const char *bytes, size_t len) {
  return (ss_value){SS_STRING, len > UINT32_MAX ? UINT32_MAX : (uint32_t)len, {.bytes = bytes}};
}

/* [any; no; no] */
void ssphp_failure_static(const char *code, const char *message, ssphp_failure *failure) {
  memset(failure, 0, sizeof(*failure));
  if (code != NULL) failure->values[0] = text(code, strlen(code));
  failure->values[1] = text(message, strlen(message));
  failure->values[3].tag = SS_INT;
}

/* [fiber; no; no] */
static void hold(ssphp_failure *failure, int which, zend_string *string) {
  failure->held[which] = string;
  failure->values[which] = text(ZSTR_VAL(string), ZSTR_LEN(string));
}

/* [fiber; no; no] */
void ssphp_failure_end(ssphp_failure *failure) {
  for (int i = 0; i < 3; i++)
    if (failure->held[i] != NULL) zend_string_release(failure->held[i]);
}

/* A property that exceptions have. [fiber; no; no] */
static zval *property(zend_object *exception, zend_class_entry *scope, const char *name, zval *scratch) {
  return zend_read_property(scope, exception, name, strlen(name), 1, scratch);
}

/* A trace as long as people read: its beginning, and its end. [fiber; no; may raise: memory] */
static void append_trace(smart_str *lines, const zend_string *trace) {
  enum { MOST = 16 * 1024, END = 2 * 1024 };
  const char *text = ZSTR_VAL(trace);
  size_t len = ZSTR_LEN(trace);
  if (len <= MOST) {
    smart_str_appendl(lines, text, len);
    return;
  }
  const char *cut = zend_memrchr(text, '\n', MOST - END), *rest = memchr(text + len - END, '\n', END);
  if (cut == NULL || rest == NULL) cut = text + MOST - END, rest = text + len - END;
  smart_str_appendl(lines, text, (size_t)(cut - text));
  smart_str_appends(lines, "\n...");
  smart_str_appendl(lines, rest, (size_t)(text + len - rest));
}

/* Class, place and trace. [fiber; no; may raise: memory] */
static zend_string *trace_of(zend_object *exception, zend_class_entry *base) {
  zval scratch, trace;
  smart_str lines = {0};
  smart_str_append(&lines, exception->ce->name);
  smart_str_appends(&lines, " at ");
  zend_string *file = zval_get_string(property(exception, base, "file", &scratch));
  smart_str_append(&lines, file);
  zend_string_release(file);
  smart_str_appendc(&lines, ':');
  smart_str_append_long(&lines, zval_get_long(property(exception, base, "line", &scratch)));
  smart_str_appendc(&lines, '\n');
  ZVAL_UNDEF(&trace);
  zend_call_method_with_0_params(exception, exception->ce, NULL, "gettraceasstring", &trace);
  if (Z_TYPE(trace) == IS_STRING) append_trace(&lines, Z_STR(trace));
  zval_ptr_dtor(&trace);
  smart_str_0(&lines);
  return lines.s;
}

/* Whether PHP has found too little of the C stack left, where no setting of its own says how much that is. [fiber; no; no] */
static bool is_overflow(zend_object *exception, zend_class_entry *base) {
  static const char stack[] = "Maximum call stack size of ";
  zval scratch;
  if (exception->ce != zend_ce_error || EG(max_allowed_stack_size) > 0) return false;
  zval *message = property(exception, base, "message", &scratch);
  return Z_TYPE_P(message) == IS_STRING && strncmp(Z_STRVAL_P(message), stack, sizeof(stack) - 1) == 0;
}

/* [fiber; no; may raise: memory] */
void ssphp_failure_of(zend_object *exception, ssphp_failure *failure) {
  zval scratch;
  memset(failure, 0, sizeof(*failure));
  failure->values[3].tag = SS_INT;
  zend_class_entry *base = instanceof_function(exception->ce, zend_ce_exception) ? zend_ce_exception : zend_ce_error;
  zval *code = property(exception, base, "code", &scratch);
  if (Z_TYPE_P(code) == IS_STRING && Z_STRLEN_P(code) > 0) {
    hold(failure, 0, zend_string_copy(Z_STR_P(code)));
  } else if (Z_TYPE_P(code) == IS_LONG && Z_LVAL_P(code) != 0) {
    hold(failure, 0, zend_long_to_str(Z_LVAL_P(code)));
  } else if (is_overflow(exception, base)) {
    failure->values[0] = text("stack", 5);
  }
  /* One that goes outward through many calls of the host is described once. */
  const ssphp_told *told = ssphp_told_of(exception);
  hold(failure, 1, told ? zend_string_copy(told->message) : zval_get_string(property(exception, base, "message", &scratch)));
  hold(failure, 2, told ? zend_string_copy(told->trace) : trace_of(exception, base));
  if (instanceof_function(exception->ce, ssphp_exception_class))
    failure->values[3].as.integer = Z_LVAL_P(property(exception, ssphp_exception_class, "hostError", &scratch));
  if (told == NULL) ssphp_told_keep(exception, failure->held[1], failure->held[2]);
}

/* [fiber; no; no] */
void ssphp_failure_of_bailout(ssphp_failure *failure) {
  static const char memory[] = "Allowed memory size of ";
  if (PG(last_error_message) == NULL || !(PG(last_error_type) & (E_FATAL_ERRORS | E_RECOVERABLE_ERROR))) {
    ssphp_failure_static("fatal", "the request ended without a result", failure);
    return;
  }
  zend_string *message = PG(last_error_message);
  bool of_memory = strncmp(ZSTR_VAL(message), memory, sizeof(memory) - 1) == 0;
  bool own = of_memory && ssphp_memory_limit_is_own();
  ssphp_failure_static(own ? "memory_limit" : of_memory ? "memory" : "fatal", "", failure);
  if (own) failure->values[3].as.integer = PG(memory_limit);
  hold(failure, 1, zend_string_copy(message));
  if (PG(last_error_file) != NULL)
    hold(failure, 2, zend_strpprintf(0, "Fatal error at %s:%d", ZSTR_VAL(PG(last_error_file)), PG(last_error_lineno)));
}

/* [fiber; no; raises] */
static zend_object *throw(zend_class_entry *class, const char *code, size_t len, zend_string *message) {
  zend_object *exception = zend_throw_exception(class, NULL, 0);
  zval value;
  ZVAL_STR(&value, message);
  zend_update_property_ex(class, exception, ZSTR_KNOWN(ZEND_STR_MESSAGE), &value);
  zval_ptr_dtor(&value);
  ZVAL_STRINGL(&value, code, len);
  zend_update_property_ex(class, exception, ZSTR_KNOWN(ZEND_STR_CODE), &value);
  zval_ptr_dtor(&value);
  return exception;
}

/* [any; no; no] */
static bool is(const ss_value *value, const char *word) {
  return value->tag == SS_STRING && value->len == strlen(word) && memcmp(value->as.bytes, word, value->len) == 0;
}

/* [fiber; no; raises] */
void ssphp_throw_host(const ss_value values[SS_ERROR_VALUES]) {
  zend_object *before = ssphp_told_before(values);
  if (before != NULL) {
    GC_ADDREF(before);
    zend_throw_exception_internal(before);
    return;
  }
  zend_class_entry *class = ssphp_exception_class;
  if (is(&values[0], "cancelled"))
    class = ssphp_cancelled_class;
  else if (is(&values[0], "timeout") || is(&values[0], "deadline"))
    class = ssphp_timeout_class;
  bool coded = values[0].tag == SS_STRING;
  zend_object *exception = throw(class, coded ? values[0].as.bytes : "", coded ? values[0].len : 0,
                                 zend_string_init(values[1].as.bytes, values[1].len, 0));
  if (values[3].tag == SS_INT)
    zend_update_property_long(ssphp_exception_class, exception, ZEND_STRL("hostError"), values[3].as.integer);
}

/* [fiber; no; raises] */
void ssphp_throw(const char *code, const char *format, ...) {
  va_list list;
  va_start(list, format);
  zend_string *message = zend_vstrpprintf(0, format, list);
  va_end(list);
  throw(ssphp_exception_class, code, strlen(code), message);
}

/* [fiber; no; raises] */
void ssphp_kill(void) {
  if (EG(exception) != NULL) zend_clear_exception();
  /* The engine works between two scripts (it makes the message of what nobody caught): no frame is there to be unwound. */
  if (EG(current_execute_data) == NULL) zend_bailout();
  zend_throw_unwind_exit();
}
