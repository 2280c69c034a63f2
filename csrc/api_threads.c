/* The C API on threads where no fiber runs. */
#include "api.h"
#include "way_in.h"

ss_crossing ss_cross_host_here;

SS_PUBLIC(host_here);
SS_PUBLIC(host_free);
SS_PUBLIC(attach);
SS_PUBLIC(detach);

int sidestack_host_here(sidestack_host **host) {
  *host = NULL;
  int status = ss_api_on_native_fiber();
  return status ? status : (int)ss_cross((uintptr_t)host, 0, 0, 0, ss_cross_host_here);
}

void sidestack_host_free(sidestack_host *host) {
  if (host) ss_foreign_host_free(host);
}

int sidestack_attach(const sidestack_host *host) {
  int status = ss_api_outside_handlers();
  if (status) return status;
  if (!ss_thread_state.attached) return ss_foreign_attach(host);
  return ss_api_error(SIDESTACK_REFUSED, "would_block_own_interpreter", "an interpreter thread cannot be attached to one");
}

int sidestack_detach(void) {
  int status = ss_api_outside_handlers();
  if (status) return status;
  return ss_foreign_detach();
}
