/* What PHP scripts get of Sidestack itself, beyond the host's functions as they are. */
#ifndef SIDESTACK_PHP_LIBRARY_H
#define SIDESTACK_PHP_LIBRARY_H

#include "inner.h"

/* A method that the library adds to a class of its own. */
typedef struct ssphp_extra {
  const char *class; /* as the host names it */
  const char *name;
  const char *host; /* the host function that it calls, of sidestack.core */
  zif_handler handler;
  const zend_internal_arg_info *arguments;
  uint32_t required, most; /* arguments */
  uint32_t flags;
} ssphp_extra;

/* All, ended by one without a class; and how many a class has at most. */
extern const ssphp_extra ssphp_extras[];
#define SSPHP_EXTRAS 2

/* Whether scripts are not to see this function of sidestack.core: PHP has its own, or it is another guest's. [any; no; no] */
bool ssphp_hidden(const char *function);

/* Which argument of a function or method of the library is something to call: from 1; 0: none. [any; no; no] */
uint32_t ssphp_callable_at(const char *class, const char *function);

/* Makes a closure of something that can be called. [fiber; no; may raise] */
bool ssphp_closure(zval *callable);

/* An iterator over a channel's messages. [fiber; no; may raise] */
zend_object_iterator *ssphp_channel_iterator(zend_class_entry *class, zval *object, int by_reference);

/* Registers Sidestack\Http. [PHP's start; no; no] */
void ssphp_library_register(void);

#endif
