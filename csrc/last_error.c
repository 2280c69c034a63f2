#include "last_error.h"

#include "thread.h"

/* What src/host/last_error.rs gives out: two terminated texts. */
typedef struct ss_last_error {
  const char *code;
  const char *message;
} ss_last_error;

/* Defined in src/crossing/last_error.rs: a leaf. [any thread; no; no] */
const ss_last_error *ss_cross_last_error(ss_thread *);

const char *sidestack_last_error_code(void) { return ss_cross_last_error(&ss_thread_state)->code; }

const char *sidestack_last_error_message(void) { return ss_cross_last_error(&ss_thread_state)->message; }
