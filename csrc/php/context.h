/* Contexts and their requests. */
#ifndef SIDESTACK_PHP_CONTEXT_H
#define SIDESTACK_PHP_CONTEXT_H

#include "inner.h"

/* An idle context or a new one, loaded; NULL: no memory. [fiber; no; no] */
ssphp_context *ssphp_context_take(ssphp *home);

/* Its request is over: keeps it for the next one, or frees it. Another may be loaded afterwards. [fiber; no; no] */
void ssphp_context_give(ssphp_context *context);

/* Frees all idle ones but `keep`, and gives memory back to the system. [fiber; no; no] */
void ssphp_contexts_trim(ssphp *home, uint32_t keep);

#endif
