/* What changes hands at a switch. */
#ifndef SIDESTACK_PHP_SWAP_H
#define SIDESTACK_PHP_SWAP_H

#include "inner.h"

/* Makes a context the thread's; NULL: none. [interpreter thread; no; no] */
void ssphp_load(ssphp *home, ssphp_context *context);

/* What PHP's words are before a context is made, so that it gets its own. [fiber; no; no] */
void ssphp_words_clear(void);

/* Gives the executor of the loaded context to a run that has had it before. [interpreter thread; no; no] */
void ssphp_occupy(ssphp_run *run);

/*
 * Gives the executor of the loaded context to a run that has not: with an empty state, and the bounds of the fiber's
 * stack. It has no VM stack yet, unless the context's request does not run. [fiber; no; no]
 */
void ssphp_occupy_anew(ssphp_run *run);

/* The bounds of the fiber's own stack, as PHP's checks want them. [fiber; no; no] */
void ssphp_stack_bounds(void);

/* The innermost frame of a run in a context. [interpreter thread; no; no] */
const zend_execute_data *ssphp_frame(const ssphp_run *run);

/* The run leaves its context for good. [fiber; no; no] */
void ssphp_vacate(ssphp_run *run);

#endif
