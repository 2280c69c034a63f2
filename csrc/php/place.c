/* Where PHP code is, for reports: the innermost frame of the script's own. Only reads, of structures in any state. */
#include "swap.h"

#include <stdio.h>
#include <string.h>

/* [interpreter thread, also in a signal handler; no; no] */
static size_t place(const zend_execute_data *frame, char *text, size_t size) {
  for (int depth = 0; frame != NULL && depth < 1000; frame = frame->prev_execute_data, depth++) {
    if (frame->func == NULL || frame->func->type != ZEND_USER_FUNCTION || frame->opline == NULL) continue;
    const zend_string *file = frame->func->op_array.filename;
    if (file == NULL) return 0;
    const char *name = strrchr(ZSTR_VAL(file), '/');
    int len = snprintf(text, size, "%s:%u", name != NULL ? name + 1 : ZSTR_VAL(file), frame->opline->lineno);
    return len < 0 ? 0 : (size_t)len < size ? (size_t)len : size - 1;
  }
  return 0;
}

/* [interpreter thread, also in a signal handler; no; no] */
void ssphp_where(char *text, size_t size) {
  const ssphp *home = ss_thread_state.guest;
  text[0] = '\0';
  if (home != NULL && home->loaded != NULL && home->loaded->open) place(EG(current_execute_data), text, size);
}

/* Of its words in the executor, as swap.c keeps them: those of the run that has the executor are PHP's own. [interpreter thread; no; no] */
size_t ssphp_position(const ssphp_run *run, char *text, size_t size) {
  const ssphp_context *context = run->context;
  if (context == NULL || !context->open) return 0;
  return place(ssphp_frame(run), text, size);
}
