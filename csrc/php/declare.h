/* The host's functions and classes, as PHP is told of them. */
#ifndef SIDESTACK_PHP_DECLARE_H
#define SIDESTACK_PHP_DECLARE_H

#include "inner.h"

/* What host functions keep their number under: an index of zend_internal_function.reserved. Set at PHP's start. The number is the
   id, with the function's flags from bit 32 on, and from bit 40 on which argument is to be made a closure of. */
extern int ssphp_reserved;

/* Functions and classes for an interpreter's contexts; NULL: no memory. A context is loaded. [fiber; no; no] */
struct ssphp_functions *ssphp_functions_new(const ss_host_desc *host);

/* A number that stands for their names, and is not 0. [any; no; no] */
uint64_t ssphp_functions_set(const struct ssphp_functions *functions);

/* [interpreter thread; no; no] */
void ssphp_functions_free(struct ssphp_functions *functions);

/* The class of that number among the host's; NULL: there is none. [fiber; no; no] */
zend_class_entry *ssphp_class(const struct ssphp_functions *functions, uint32_t number);

/* Adds them to the loaded context, which is new. [fiber; no; no] */
void ssphp_functions_add(struct ssphp_functions *functions);

/* Takes them out of the loaded context, which ends. [fiber; no; no] */
void ssphp_functions_remove(struct ssphp_functions *functions);

#endif
