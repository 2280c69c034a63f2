/* PHP's start, once in a process. */
#ifndef SIDESTACK_PHP_START_H
#define SIDESTACK_PHP_START_H

#include "inner.h"

/* The extension that Sidestack is to PHP: host functions and classes belong to it. */
extern zend_module_entry ssphp_module;

/* What PHP calls to start its modules. [PHP's thread; no; no] */
int ssphp_module_startup(sapi_module_struct *module);

#endif
