#include "native.h"

void ss_native_entry(void *data) {
  ss_native_run *run = data;
  if (!run->function) {
    ss_return(SS_OK, 0, 0);
    return;
  }
  ss_value result = {0};
  int status = run->function(run->args, run->nargs, &result);
  if (status == SS_ERROR) {
    /* code, message, traceback, id */
    ss_value error[SS_ERROR_VALUES] = {{0}, result, {0}, {0}};
    error[3].tag = SS_INT;
    ss_return(SS_ERROR, error, SS_ERROR_VALUES);
  } else {
    ss_return(status, &result, status == SS_OK && result.tag != SS_NIL);
  }
}
