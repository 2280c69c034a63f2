/* What a request may hold. */
#ifndef SIDESTACK_PHP_MEMORY_H
#define SIDESTACK_PHP_MEMORY_H

#include "inner.h"

/* Watches the setting memory_limit. [PHP's start; no; no] */
void ssphp_memory_open(void);

/* What the request of the fiber may hold: what memory_limit says, at most what its call may. [fiber; no; no] */
void ssphp_memory_limit(void);

/* Whether that is what memory_limit says. [fiber; no; no] */
bool ssphp_memory_limit_is_own(void);

#endif
