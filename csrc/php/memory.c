/*
 * Memory. PHP's own limit ends a request that asks for more than memory_limit; scripts may change that, but not beyond what
 * their call may hold. What all requests of an interpreter hold together is counted at each switch: over its cap the
 * largest is cancelled.
 */
#include "memory.h"

#include "php_ini.h"

static ZEND_INI_MH((*change_limit));

/* [fiber; no; no] */
void ssphp_memory_limit(void) {
  const ssphp *home = ss_thread_state.guest;
  if (home == NULL || home->run == NULL || home->run->context == NULL) return;
  size_t most = home->run->memory;
  if (PG(memory_limit) < 0 || (size_t)PG(memory_limit) > most) zend_set_memory_limit(most);
}

/* [fiber; no; no] */
bool ssphp_memory_limit_is_own(void) {
  const ssphp *home = ss_thread_state.guest;
  return PG(memory_limit) >= 0 && home != NULL && home->run != NULL && (size_t)PG(memory_limit) < home->run->memory;
}

/* The setting is changed. [fiber; no; no] */
static ZEND_INI_MH(on_limit) {
  zend_result changed = change_limit(entry, new_value, mh_arg1, mh_arg2, mh_arg3, stage);
  if (changed == SUCCESS && stage == PHP_INI_STAGE_RUNTIME) ssphp_memory_limit();
  return changed;
}

/* [PHP's start; no; no] */
void ssphp_memory_open(void) {
  zend_ini_entry *entry = zend_hash_str_find_ptr(EG(ini_directives), ZEND_STRL("memory_limit"));
  if (entry == NULL) return;
  change_limit = entry->on_modify;
  entry->on_modify = on_limit;
}

/* The fiber that began the largest request. [interpreter thread; no; no] */
uint64_t ssphp_over_memory(ssphp *home) {
  if (!home->over) return 0;
  home->over = 0;
  const ssphp_context *largest = NULL;
  for (const ssphp_context *context = home->contexts; context != NULL; context = context->next)
    if (context->open && context->fibers > 0 && (largest == NULL || context->memory > largest->memory)) largest = context;
  return largest != NULL ? largest->largest : 0;
}

/* [interpreter thread; no; no] */
size_t ssphp_memory_used(const ssphp *home) { return home->used; }
