#include "thread.h"

__thread ss_thread ss_thread_state __attribute__((tls_model("initial-exec")));

ss_thread *ss_current_thread(void) { return &ss_thread_state; }
