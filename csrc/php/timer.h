/* Time limits of requests. */
#ifndef SIDESTACK_PHP_TIMER_H
#define SIDESTACK_PHP_TIMER_H

#include "inner.h"

/* Tells the thread when the time of a run is over, which gets the thread. [interpreter thread; no; no] */
void ssphp_timer_enter(const ssphp_run *run);

/* Raises PHP's fatal error if the time of the fiber's request is over. [fiber; no; raises] */
void ssphp_timer_check(void);

#endif
