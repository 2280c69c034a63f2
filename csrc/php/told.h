/* Exceptions that the host was told of, in case they come back. */
#ifndef SIDESTACK_PHP_TOLD_H
#define SIDESTACK_PHP_TOLD_H

#include "inner.h"

/* The host is told of an exception, in these words. [fiber; may suspend; may raise] */
void ssphp_told_keep(zend_object *exception, zend_string *message, zend_string *trace);

/* What the host was told of this exception; NULL: nothing, or long ago. [fiber; no; no] */
const ssphp_told *ssphp_told_of(const zend_object *exception);

/* The exception that this error was; NULL: none of the request's. [fiber; no; no] */
zend_object *ssphp_told_before(const ss_value values[SS_ERROR_VALUES]);

/* Forgets them, as the request ends. [fiber; may suspend; may raise] */
void ssphp_told_forget(ssphp_context *context);

#endif
