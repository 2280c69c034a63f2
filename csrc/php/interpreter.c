/* An interpreter's record, and its runs'. Plain C memory: nothing of PHP's is touched here. */
#include <stdlib.h>
#include <string.h>

#include "declare.h"
#include "opcache.h"
#include "script.h"

/* [interpreter thread; no; no] */
ssphp *ssphp_new(const ss_host_desc *host, size_t memory) {
  ssphp *home = calloc(1, sizeof(*home));
  if (home == NULL) return NULL;
  home->host = host;
  home->memory = memory;
  return home;
}

/* [interpreter thread; no; no] */
void ssphp_free(ssphp *home) {
  ssphp_scripts_free(home);
  ssphp_opcache_part(home);
  ssphp_functions_free(home->functions);
  free(home->slots);
  free(home);
}

/* [interpreter thread; no; no] */
void ssphp_lost(ssphp *home) {
  ssphp_opcache_lost();
  for (ssphp_context *context = home->contexts; context != NULL; context = context->next) ssphp_opcache_leave(context);
  ssphp_opcache_part(home);
}

/* [interpreter thread; no; no] */
void ssphp_run_begin(ssphp *home, ssphp_run *run, uint64_t fiber, size_t memory) {
  memset(run, 0, sizeof(*run));
  run->home = home;
  run->fiber = fiber;
  run->memory = memory;
}

/* A fiber that was abandoned leaves its context as it is: with its thread. [interpreter thread; no; no] */
void ssphp_run_end(ssphp_run *run, int returned) {
  (void)returned;
  if (run->home != NULL && run->home->run == run) run->home->run = NULL;
}
