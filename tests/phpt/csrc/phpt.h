/* What the tests put into PHP. */
#ifndef PHPT_H
#define PHPT_H

#include <stdint.h>

#include "php.h"
#include "SAPI.h"

/* Sidestack's server interface. */
extern sapi_module_struct ssphp_sapi;

extern const zend_function_entry phpt_functions[];

/* Before PHP starts: adds the functions, and puts the sink before the server interface's. [any thread; no; no] */
void phpt_install(void);

/* So many fibers begin to write together. Before they start. [any thread; no; no] */
void phpt_copies(unsigned count);

/* What the sink has seen: writes, and those that came from another fiber than the one before. [any thread; no; no] */
void phpt_turns(uint64_t out[2]);

/* Upcalls seen, and those whose stack pointer lay outside the executor's bounds. [any thread; no; no] */
void phpt_bounds(uint64_t out[2]);

#endif
