/* What the C functions over the public API share. */
#ifndef TEST_PUBLIC_H
#define TEST_PUBLIC_H

#include <sidestack.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTION(name) int name(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results)

/* Terminates an argument. */
static inline const char *name_of(const sidestack_value *value, char *buffer, size_t size) {
  size_t len;
  const char *text = sidestack_text_of(value, &len);
  snprintf(buffer, size, "%.*s", (int)len, text ? text : "");
  return buffer;
}

/* A host function of integers: the status, and its first result. */
static inline int call_int(const char *name, int64_t argument, int64_t *out) {
  sidestack_value value = sidestack_int(argument);
  sidestack_results results;
  sidestack_results_init(&results);
  int status = sidestack_call_name(name, &value, 1, &results);
  if (status == SIDESTACK_OK && out) *out = results.count ? sidestack_int_or(results.values, -1) : 0;
  sidestack_results_free(&results);
  return status;
}

#endif
