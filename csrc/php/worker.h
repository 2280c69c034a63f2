/*
 * Worker scripts: they boot once and answer requests in a loop, each time through frankenphp_handle_request(callable): bool.
 * PHP's own request lasts as long as the script; what belongs to one HTTP request begins and ends inside that function.
 */
#ifndef SIDESTACK_PHP_WORKER_H
#define SIDESTACK_PHP_WORKER_H

#include "page.h"

/* Waits for the next request, answers it with the callable, and says whether to come again. [fiber; may suspend; raises] */
ZEND_FUNCTION(frankenphp_handle_request);

#endif
