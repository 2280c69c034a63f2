#include <sys/syscall.h>

#include "libs/libs.h"

static volatile long first, others;

void libs_note_thread(void) {
  long own = syscall(SYS_gettid), none = 0;
  if (!__atomic_compare_exchange_n(&first, &none, own, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) && none != own)
    __atomic_add_fetch(&others, 1, __ATOMIC_SEQ_CST);
}

/* The thread that the libraries' guests ran on first, and how often on another one. */
void libs_threads(long out[2]) {
  out[0] = first;
  out[1] = others;
}
