/* PHP's functions that look names up. */
#ifndef SIDESTACK_PHP_NAMES_H
#define SIDESTACK_PHP_NAMES_H

/* [PHP's start; no; no] */
void ssphp_names_open(void);

#endif
