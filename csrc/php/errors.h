/* Errors of PHP code, and the host's. */
#ifndef SIDESTACK_PHP_ERRORS_H
#define SIDESTACK_PHP_ERRORS_H

#include "inner.h"

extern zend_class_entry *ssphp_exception_class, *ssphp_cancelled_class, *ssphp_timeout_class;

/* The classes. [PHP's start; no; no] */
void ssphp_errors_register(void);

/* An error as the host takes it, with what keeps its strings. */
typedef struct ssphp_failure {
  ss_value values[SS_ERROR_VALUES];
  zend_string *held[3];
} ssphp_failure;

/* Describes an exception: no code of its class runs. [fiber; no; may raise: memory] */
void ssphp_failure_of(zend_object *exception, ssphp_failure *failure);

/* Describes the fatal error, or the exit, that the request was left by. [fiber; no; no] */
void ssphp_failure_of_bailout(ssphp_failure *failure);

/* An error in words that live for ever. [any; no; no] */
void ssphp_failure_static(const char *code, const char *message, ssphp_failure *failure);

/* [fiber; no; no] */
void ssphp_failure_end(ssphp_failure *failure);

/* Throws a host's error. [fiber; no; raises] */
void ssphp_throw_host(const ss_value values[SS_ERROR_VALUES]);

/* Throws a Sidestack\Exception of our own. [fiber; no; raises] */
void ssphp_throw(const char *code, const char *format, ...) ZEND_ATTRIBUTE_FORMAT(printf, 2, 3);

/* Unwinds everything: nothing catches it, no `finally` runs. [fiber; no; raises] */
void ssphp_kill(void);

#endif
