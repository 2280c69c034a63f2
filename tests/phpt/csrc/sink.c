/* An output sink before the server interface's own: after each write the others have their turn. */
#include <stdatomic.h>

#include "phpt.h"
#include "sidestack.h"

static size_t (*next_write)(const char *bytes, size_t length);
static atomic_uint_fast64_t writes, changes, last;

/* The fibers that are to write, and those that have begun to. One interpreter thread writes these. */
enum { MOST = 8 };
static unsigned copies, begun;
static uint64_t fibers[MOST];

/* At a fiber's first write: waits for the others, but not for ever, as they may write nothing. [fiber; may suspend; no] */
static void line_up(uint64_t fiber) {
  for (unsigned i = 0; i < begun; i++)
    if (fibers[i] == fiber) return;
  if (begun < copies) fibers[begun++] = fiber;
  for (int i = 0; begun < copies && i < 500; i++)
    if (sidestack_sleep(0.001) != SIDESTACK_OK) return;
}

/* [fiber; may suspend; as the sink behind it] */
static size_t write_and_give_way(const char *bytes, size_t length) {
  uint64_t fiber = sidestack_fiber();
  line_up(fiber);
  atomic_fetch_add(&writes, 1);
  uint64_t before = atomic_exchange(&last, fiber);
  if (before != 0 && before != fiber) atomic_fetch_add(&changes, 1);
  size_t written = next_write(bytes, length);
  sidestack_yield();
  return written;
}

void phpt_install(void) {
  next_write = ssphp_sapi.ub_write;
  ssphp_sapi.ub_write = write_and_give_way;
  ssphp_sapi.additional_functions = phpt_functions;
}

void phpt_copies(unsigned count) { copies = count < MOST ? count : MOST; }

void phpt_turns(uint64_t out[2]) {
  out[0] = atomic_load(&writes);
  out[1] = atomic_load(&changes);
}
