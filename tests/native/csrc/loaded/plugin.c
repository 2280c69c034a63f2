/* A shared library that a program opens at run time: one function of scalars, and some over the C API. */
#include <sidestack.h>

int64_t plugin_add(int64_t a, int64_t b) { return a + b; }

int plugin_nap(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  (void)data, (void)nargs;
  int status = sidestack_sleep(sidestack_float_or(&args[0], 0));
  return status ? status : sidestack_return(results, sidestack_string("slept"));
}

int plugin_spin(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  (void)data, (void)args, (void)nargs, (void)results;
  int status;
  while ((status = sidestack_poll()) == SIDESTACK_OK) {
  }
  return status;
}
