/*
 * What the code between C libraries and the public API shares.
 *
 * A library's callback has its own way of failing, which is not Sidestack's. So each of them keeps the status of the
 * host call that failed where the function that called the library finds it, gives the library its own word for
 * "stop", and the function returns that status once the library has come back and everything is freed. The error's code
 * and message need no keeping: they stay with the fiber.
 */
#ifndef LIBRARY_H
#define LIBRARY_H

#include <sidestack.h>

#include <stdlib.h>
#include <string.h>

#define FUNCTION(name) int name(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results)

/* A host function with one integer for its result. [fiber; may suspend; no] */
static inline int library_ask(const char *name, sidestack_value *args, uint32_t nargs, int64_t *answer) {
  sidestack_results results;
  sidestack_results_init(&results);
  int status = sidestack_call_name(name, args, nargs, &results);
  if (status == SIDESTACK_OK) *answer = results.count ? sidestack_int_or(results.values, 0) : 0;
  sidestack_results_free(&results);
  return status;
}

#endif
