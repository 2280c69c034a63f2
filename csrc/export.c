#include "export.h"

#include <string.h>

#include "last_error.h"

/* Defined in src/crossing/export/foreign.rs. [foreign thread; no; no] */
int ss_cross_export_foreign(const void *, const void *, void *);

/* A terminated text as a value. [any; no; no] */
static ss_value text(const char *string) {
  ss_value value = {.tag = SS_STRING, .len = (uint32_t)strlen(string)};
  value.as.bytes = string;
  return value;
}

/* The failure becomes the last error. [interpreter thread; no; no] */
static __attribute__((cold, noinline)) int failed(ss_call *call, int status) {
  if (status == SS_ERROR) {
    ss_value code = call->values[0], message = call->values[1];
    if (code.tag != SS_STRING) code = text("error");
    ss_last_error_set(code.as.bytes, code.len, message.as.bytes, message.len);
  } else {
    ss_value code = text("cancelled"), message = text("cancelled; the grace is over");
    ss_last_error_set(code.as.bytes, code.len, message.as.bytes, message.len);
  }
  ss_host_end(call);
  return status;
}

/* An exported function has asked for a guest call: C has none that could be asked for. [fiber; may suspend; no] */
static __attribute__((cold, noinline)) int refuse_guest_call(ss_call *call) {
  ss_value error[SS_ERROR_VALUES] = {
      text("cannot_call_guest_here"), text("an exported function was called by C, which has no guest functions"), {0}, {0}};
  error[3].tag = SS_INT;
  return ss_host_answer(call, SS_ERROR, error, SS_ERROR_VALUES);
}

int ss_export_call(const void *export, const void *args, void *result) {
  ss_thread *thread = &ss_thread_state;
  if (__builtin_expect(!thread->attached, 0)) return ss_cross_export_foreign(export, args, result);
  ss_call call; /* what the host does not set itself, or has to find empty */
  call.id = 0;
  call.values = NULL;
  call.count = 0;
  call.flags = 0;
  call.reply = NULL;
  /* C has no other place to look up: slices, deadlines and kills of code that runs reach it when it calls. */
  if (__builtin_expect(thread->interrupt && thread->place == SS_ON_FIBER, 0)) {
    int told = ss_poll(&call, 0);
    if (told != SS_OK) return failed(&call, told);
  }
  int status = ss_export_cross(export, args, result, &call);
  while (__builtin_expect(status == SS_CALL_GUEST, 0)) status = refuse_guest_call(&call);
  return __builtin_expect(status == SS_OK, 1) ? SS_OK : failed(&call, status);
}

void ss_export_entry(void *data) {
  ss_export_run *run = data;
  if (ss_export_call(run->export, run->args, run->result) == SS_OK) {
    ss_return(SS_OK, NULL, 0);
    return;
  }
  ss_value error[SS_ERROR_VALUES] = {
      text(sidestack_last_error_code()), text(sidestack_last_error_message()), {0}, {0}};
  error[3].tag = SS_INT;
  ss_return(SS_ERROR, error, SS_ERROR_VALUES);
}
