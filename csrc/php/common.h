/* What all contexts of an interpreter have in common. */
#ifndef SIDESTACK_PHP_COMMON_H
#define SIDESTACK_PHP_COMMON_H

#include "inner.h"

/* Has the loaded context, which is new, share what the interpreter's others have too. [fiber; no; no] */
void ssphp_common_share(ssphp_context *context);

/* Undoes it, before the loaded context is freed. [fiber; no; no] */
void ssphp_common_leave(ssphp_context *context);

/* Before contexts are made: orders the table of constants so that they can share more of it. [PHP's thread; no; no] */
void ssphp_common_open(void);

/* Gives whole pages of malloc's memory back to the system until they are written to; what was in them is lost. [any thread; no; no] */
void ssphp_pages_discard(void *bytes, size_t size);

/* No context is left. [interpreter thread; no; no] */
void ssphp_common_free(struct ssphp_common *common);

#endif
