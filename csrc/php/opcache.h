/* What opcache's shared memory needs of the requests of one process. */
#ifndef SIDESTACK_PHP_OPCACHE_H
#define SIDESTACK_PHP_OPCACHE_H

/* A request begins, or has ended. [fiber; no; no] */
void ssphp_opcache_enter(void);
void ssphp_opcache_leave(void);

/* Why the settings that PHP has started with cannot be used here; NULL: they can. [PHP's thread; no; no] */
const char *ssphp_opcache_refuses(void);

#endif
