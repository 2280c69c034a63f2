#include "export.h"

#include <string.h>

#include "api.h"
#include "way_in.h"

/* Defined in src/crossing/export.rs. */
ss_crossing ss_cross_export;
/* Defined in src/crossing/export/foreign.rs. [foreign thread; no; no] */
int ss_cross_export_foreign(const void *, const void *, void *);

/* The failure becomes the last error. [interpreter thread; no; no] */
static __attribute__((cold, noinline)) int failed(ss_call *call, int status) {
  if (status == SS_ERROR) {
    ss_value error[SS_ERROR_VALUES];
    memcpy(error, call->values, sizeof error);
    if (error[0].tag != SS_STRING) error[0] = sidestack_string("error");
    ss_api_error_set(error);
  } else {
    ss_api_error(status, "cancelled", "cancelled; the grace is over");
  }
  ss_host_end(call);
  return status;
}

/* An exported function has asked for a guest call: C has none that could be asked for. [fiber; may suspend; no] */
static __attribute__((cold, noinline)) int refuse_guest_call(ss_call *call) {
  ss_value error[SS_ERROR_VALUES] = {
      sidestack_string("cannot_call_guest_here"),
      sidestack_string("an exported function was called by C, which has no guest functions"),
      sidestack_nil(),
      sidestack_int(0),
  };
  return ss_host_answer(call, SS_ERROR, error, SS_ERROR_VALUES);
}

int ss_export_call(const void *export, const void *args, void *result) {
  ss_thread *thread = &ss_thread_state;
  if (__builtin_expect(!thread->attached, 0)) return ss_cross_export_foreign(export, args, result);
  int refused = ss_api_outside_handlers();
  if (__builtin_expect(refused, 0)) return refused;
  ss_call call; /* what the host does not set itself, or has to find empty */
  call.id = 0;
  call.values = NULL;
  call.count = 0;
  call.flags = 0;
  call.reply = NULL;
  /* C has no other place to look up: slices, deadlines and cancels of code that runs reach it when it calls. */
  if (__builtin_expect(thread->interrupt && thread->place == SS_ON_FIBER, 0)) {
    int told = ss_poll(&call, 0);
    if (told != SS_OK) return failed(&call, told);
  }
  int status =
      (int)ss_cross((uintptr_t)export, (uintptr_t)args, (uintptr_t)result, (uintptr_t)&call, ss_cross_export);
  while (__builtin_expect(status == SS_CALL_GUEST, 0)) status = refuse_guest_call(&call);
  return __builtin_expect(status == SS_OK, 1) ? SS_OK : failed(&call, status);
}

void ss_export_entry(void *data) {
  ss_export_run *run = data;
  if (ss_export_call(run->export, run->args, run->result) == SS_OK) {
    ss_return(SS_OK, NULL, 0);
    return;
  }
  ss_value error[SS_ERROR_VALUES];
  ss_api_error_values(SIDESTACK_ERROR, error);
  ss_return(SS_ERROR, error, SS_ERROR_VALUES);
}
