/* What opcache's shared memory needs of the requests of one process. */
#ifndef SIDESTACK_PHP_OPCACHE_H
#define SIDESTACK_PHP_OPCACHE_H

#include "inner.h"

/* Before PHP starts opcache. [PHP's start; no; no] */
void ssphp_opcache_open(void);

/* The loaded context has just been made. [fiber; no; no] */
void ssphp_opcache_made(void);

/* The interpreter, whose first context is loaded, has its functions: whether its requests share what opcache has compiled. It
   does so until ssphp_opcache_part(). [fiber; no; no] */
void ssphp_opcache_join(ssphp *home);
void ssphp_opcache_part(ssphp *home);

/* A request of the context is about to start, has started, and has ended. [fiber; no; no] */
void ssphp_opcache_enter(ssphp_context *context);
void ssphp_opcache_started(ssphp_context *context);
void ssphp_opcache_leave(ssphp_context *context);

/* The context's request uses nothing of opcache, because that waited to be emptied when it began, and a new one would.
   [fiber; no; no] */
bool ssphp_opcache_left_out(const ssphp_context *context);

/* The thread's fiber has faulted: gives opcache's lock back, if that fiber had it. [interpreter thread; no; no] */
void ssphp_opcache_lost(void);

/* Why the settings that PHP has started with cannot be used here; NULL: they can. [PHP's thread; no; no] */
const char *ssphp_opcache_refuses(void);

#endif
