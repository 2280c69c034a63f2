/* Host calls. */
#ifndef SIDESTACK_PHP_HOST_H
#define SIDESTACK_PHP_HOST_H

#include "inner.h"

/*
 * Calls host function `id`, a method if `object` is not NULL. `result` stays as it is where the function gives nothing.
 * [fiber; may suspend; may raise]
 */
void ssphp_host_call(uint32_t id, int by_reference, zval *object, zval *args, uint32_t nargs, zval *result);

/* The handler of all host functions and methods. [fiber; may suspend; may raise] */
ZEND_NAMED_FUNCTION(ssphp_host_function);

/* Calls a PHP function with values of the host's. [fiber; may suspend; may raise] */
void ssphp_call(zval *function, const ss_value *args, uint32_t nargs, zval *result);

#endif
