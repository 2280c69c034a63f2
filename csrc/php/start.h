/* PHP's start, once in a process. */
#ifndef SIDESTACK_PHP_START_H
#define SIDESTACK_PHP_START_H

#include "inner.h"

/* What PHP calls to start its modules. [PHP's thread; no; no] */
int ssphp_module_startup(sapi_module_struct *module);

#endif
