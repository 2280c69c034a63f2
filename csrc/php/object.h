/* Host objects, as PHP has them. */
#ifndef SIDESTACK_PHP_OBJECT_H
#define SIDESTACK_PHP_OBJECT_H

#include "inner.h"

/* Of what a host's object is in PHP. */
typedef struct ssphp_object {
  uint64_t key; /* 0: none, or released */
  uint32_t class;
  zend_object std;
} ssphp_object;

extern zend_object_handlers ssphp_object_handlers;

/* Makes the handlers. [PHP's start; no; no] */
void ssphp_objects_open(void);

/* A class's create_object: an object of none of the host's yet. [fiber; no; may raise: memory] */
zend_object *ssphp_object_create(zend_class_entry *class);

/* The host object that a PHP object is; NULL: it is none. [fiber; no; no] */
ssphp_object *ssphp_object_of(zend_object *object);

/* Makes the PHP object of a host object, and claims it. [fiber; no; may raise] */
void ssphp_object_new(const ss_value *from, zval *value);

#endif
