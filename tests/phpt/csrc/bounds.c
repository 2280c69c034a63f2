/*
 * Between PHP's code and the bridge: at every upcall (the linker sends ss_host_call here, see build.rs) the stack pointer lies
 * within what the executor believes its stack to be, also inside of PHP's own Fibers.
 */
#include <stdatomic.h>

#include "phpt.h"
#include "crossing.h"

TSRMLS_MAIN_CACHE_EXTERN()

static atomic_uint_fast64_t calls, outside;

int64_t __real_ss_host_call(uint32_t function, ss_value *args, uint32_t nargs, ss_call *call);
int64_t __wrap_ss_host_call(uint32_t function, ss_value *args, uint32_t nargs, ss_call *call);

/* [fiber; may suspend; no] */
int64_t __wrap_ss_host_call(uint32_t function, ss_value *args, uint32_t nargs, ss_call *call) {
  /* Outside of a request nobody looks at the bounds. */
  if (tsrm_get_ls_cache() != NULL && EG(active)) {
    const char *here = __builtin_frame_address(0);
    atomic_fetch_add(&calls, 1);
    /* Below the limit is what PHP reserves for the C functions that it calls after its last look. */
    const char *end = (char *)EG(stack_limit) - EG(reserved_stack_size);
    if (here > (char *)EG(stack_base) || (EG(stack_limit) != NULL && here <= end)) atomic_fetch_add(&outside, 1);
  }
  return __real_ss_host_call(function, args, nargs, call);
}

void phpt_bounds(uint64_t out[2]) {
  out[0] = atomic_load(&calls);
  out[1] = atomic_load(&outside);
}
