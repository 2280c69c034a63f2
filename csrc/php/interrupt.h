/* Running PHP code looks up. */
#ifndef SIDESTACK_PHP_INTERRUPT_H
#define SIDESTACK_PHP_INTERRUPT_H

#include "inner.h"

/* Takes the engine's interrupt function over. [PHP's start; no; no] */
void ssphp_interrupt_open(void);

#endif
