/* The server interface: how PHP reads a request and writes its response. */
#ifndef SIDESTACK_PHP_SAPI_H
#define SIDESTACK_PHP_SAPI_H

#include "inner.h"

extern sapi_module_struct ssphp_sapi;

/* Before the request starts. [fiber; no; no] */
void ssphp_sapi_begin(ssphp_run *run);

/* After it has ended. [fiber; no; no] */
void ssphp_sapi_end(void);

#endif
