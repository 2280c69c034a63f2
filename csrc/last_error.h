/*
 * Why the last call into the host failed, for C functions that return no more than "it failed": exports, and the C API.
 *
 * Each fiber has its own, and so has each thread for the code that runs on it without one. What the functions return stays
 * valid until the next failure on that fiber or thread, or its end. A success changes nothing.
 */
#ifndef SIDESTACK_LAST_ERROR_H
#define SIDESTACK_LAST_ERROR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The code of the last failure: a word that a program can match on, "cancelled" for instance. Never NULL; "" if there was none.
   [any thread; does not suspend; does not raise] */
const char *sidestack_last_error_code(void);

/* Its message, for people. Never NULL; "" if there was none. [any thread; does not suspend; does not raise] */
const char *sidestack_last_error_message(void);

#ifdef __cplusplus
}
#endif

/* Writes down a failure; the texts are copied and need no terminator (a NUL in one ends it). For shims.
   [any thread; does not suspend; does not raise] */
void ss_last_error_set(const char *code, size_t code_len, const char *message, size_t message_len);

#endif
