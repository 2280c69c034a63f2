/* The host's functions and classes, as PHP has them. */
#ifndef SIDESTACK_PHP_HOST_H
#define SIDESTACK_PHP_HOST_H

#include "inner.h"

/* Of what a host's object is in PHP. */
typedef struct ssphp_object {
  uint64_t key; /* 0: none, or released */
  uint32_t class;
  zend_object std;
} ssphp_object;

/* Functions and classes for an interpreter's contexts; NULL: no memory. A context is loaded. [fiber; no; no] */
struct ssphp_functions *ssphp_functions_new(const ss_host_desc *host);

/* [interpreter thread; no; no] */
void ssphp_functions_free(struct ssphp_functions *functions);

/* Adds them to the loaded context, which is new. [fiber; no; no] */
void ssphp_functions_add(struct ssphp_functions *functions);

/* Takes them out of the loaded context, which ends. [fiber; no; no] */
void ssphp_functions_remove(struct ssphp_functions *functions);

/* The host object that a PHP object is; NULL: it is none. [fiber; no; no] */
ssphp_object *ssphp_object_of(zend_object *object);

/* Makes the PHP object of a host object, and claims it. [fiber; no; may raise] */
void ssphp_object_new(const ss_value *from, zval *value);

/*
 * Calls host function `id`, a method if `object` is not NULL. `result` stays as it is where the function gives nothing.
 * [fiber; may suspend; may raise]
 */
void ssphp_host_call(uint32_t id, int by_reference, zval *object, zval *args, uint32_t nargs, zval *result);

/* Calls a PHP function with values of the host's. [fiber; may suspend; may raise] */
void ssphp_call(zval *function, const ss_value *args, uint32_t nargs, zval *result);

/* What host functions keep their number under: an index of zend_internal_function.reserved. Set at PHP's start. */
extern int ssphp_reserved;

#endif
