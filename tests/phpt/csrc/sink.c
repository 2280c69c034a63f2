/* An output sink before the server interface's own: after each write the others have their turn. */
#include <stdatomic.h>

#include "phpt.h"
#include "sidestack.h"

static size_t (*next_write)(const char *bytes, size_t length);
static atomic_uint_fast64_t writes, changes, last;

/* [fiber; may suspend; as the sink behind it] */
static size_t write_and_give_way(const char *bytes, size_t length) {
  uint64_t fiber = sidestack_fiber();
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

void phpt_turns(uint64_t out[2]) {
  out[0] = atomic_load(&writes);
  out[1] = atomic_load(&changes);
}
