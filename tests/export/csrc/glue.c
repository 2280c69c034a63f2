/* How the tests get C functions onto fibers. */
#include <native.h>

/* (address of `int64_t f(int64_t)`, argument) → what it returns. [fiber; may suspend; does not raise] */
int glue_run(ss_value *args, uint32_t nargs, ss_value *result) {
  (void)nargs;
  int64_t (*function)(int64_t) = (int64_t(*)(int64_t))(uintptr_t)args[0].as.integer;
  int64_t value = function(args[1].as.integer);
  *result = (ss_value){.tag = SS_INT, .as.integer = value};
  return SS_OK;
}
