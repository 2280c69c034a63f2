/* Requests: what PHP does between its request start-up and shutdown, in one context. */
#ifndef SIDESTACK_PHP_REQUEST_H
#define SIDESTACK_PHP_REQUEST_H

#include "inner.h"

/* Gives the run a context with a request that has started. False: no memory, or PHP refuses. [fiber; may suspend; no] */
bool ssphp_request_begin(ssphp_run *run);

/* The run is done in its context: ends the request too, if nobody else needs it. [fiber; may suspend; no] */
void ssphp_request_leave(ssphp_run *run);

/* Lets the run work in a context whose request is open. False: no memory. [fiber; no; no] */
bool ssphp_request_join(ssphp_run *run, ssphp_context *context);

#endif
