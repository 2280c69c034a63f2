/* Scripts: loading them, calling what they export, running texts and programs. */
#ifndef SIDESTACK_PHP_SCRIPT_H
#define SIDESTACK_PHP_SCRIPT_H

#include "inner.h"

/* Compiles the run's script and keeps its text. [fiber; may suspend; may raise] */
void ssphp_script_load(ssphp_run *run);

/* Runs the run's script, then calls the export. [fiber; may suspend; may raise] */
void ssphp_script_call(ssphp_run *run, zval *result);

/* Runs a text for its value. [fiber; may suspend; may raise] */
void ssphp_script_eval(ssphp_run *run, zval *result);

/* Runs a file as the main program; its value is the exit status. [fiber; may suspend; may raise] */
void ssphp_script_main(ssphp_run *run, zval *result);

/* [interpreter thread; no; no] */
void ssphp_scripts_free(ssphp *home);

#endif
