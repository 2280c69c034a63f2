#include "last_error.h"

#include "outermost.h"

/* What src/host/last_error.rs gives out: two terminated texts. */
typedef struct ss_last_error {
  const char *code;
  const char *message;
} ss_last_error;

/* Defined in src/crossing/last_error.rs. [any thread; no; no] */
const ss_last_error *ss_cross_last_error(ss_thread *);
void ss_cross_last_error_set(ss_thread *, const char *, size_t, const char *, size_t);

const char *sidestack_last_error_code(void) { return ss_cross_last_error(&ss_thread_state)->code; }

const char *sidestack_last_error_message(void) { return ss_cross_last_error(&ss_thread_state)->message; }

void ss_last_error_set(const char *code, size_t code_len, const char *message, size_t message_len) {
  ss_thread *thread = &ss_thread_state;
  int outermost = ss_outermost_enter(thread);
  ss_cross_last_error_set(thread, code, code_len, message, message_len);
  ss_outermost_leave(thread, outermost);
}
