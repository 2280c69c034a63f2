/* A main program that is no page: what it has of a command line. */
#ifndef SIDESTACK_PHP_COMMAND_H
#define SIDESTACK_PHP_COMMAND_H

#include "inner.h"

/* Before the request starts: the program's name and arguments, as PHP takes them. [fiber; no; no] */
void ssphp_command_begin(const ssphp_run *run);

/* The constants STDIN, STDOUT and STDERR. [fiber; no; may raise: memory] */
void ssphp_command_streams(void);

/* After the request. [fiber; no; no] */
void ssphp_command_end(void);

#endif
