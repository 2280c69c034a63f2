/*
 * Contexts. To TSRM each is a thread of its own: it is made under an id that no thread has, and freed by lending that id
 * to the thread that frees it (ssphp_thread_id() is what TSRM asks instead of pthread_self(); see build/php.sh).
 *
 * A request leaves its context as PHP leaves a thread between two requests, so an idle one serves the next. Those that are not
 * needed for a while are freed.
 */
#include "context.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common.h"
#include "declare.h"
#include "opcache.h"
#include "swap.h"

/* Idle contexts that an interpreter keeps at most: each holds some 250 KB. */
enum { IDLE = 512 };

/* So many requests are a period. Of the contexts that were idle all through it, all but a few are freed in the next one, one with
   each request; and then, if they were as many as this, what the C library has of them goes back to the system. */
enum { PERIOD = 512, FEW = 8, TRIMMED = 32 };

/* Static in PHP's sources; build/php.sh makes them visible. */
extern TSRM_TLS void *gctx, *jit_stack;
extern TSRM_TLS uint8_t pcre2_init_ok;

/* Not 0: what TSRM is told of the thread. */
static __thread zend_ulong borrowed __attribute__((tls_model("initial-exec")));

/* [any thread; no; no] */
pthread_t ssphp_thread_id(void);
pthread_t ssphp_thread_id(void) { return borrowed != 0 ? (pthread_t)borrowed : pthread_self(); }

/* What PHP's heaps grow by; each begins with one. */
static const uintptr_t chunk = 2 * 1024 * 1024;

/* Transparent huge pages would make every heap 2 MiB. [fiber; no; no] */
static void small_pages(void) {
  madvise((void *)((uintptr_t)zend_mm_get_heap() & ~(chunk - 1)), chunk, MADV_NOHUGEPAGE);
}

/* Between two requests: PHP keeps as many chunks as its requests had on average; a limit that they do not fit under makes it
   give them back. [fiber; no; no] */
static void keep_chunks(size_t most) {
  zend_set_memory_limit(most * chunk);
  zend_set_memory_limit((size_t)PG(memory_limit));
}

/* [fiber; no; no] */
static ssphp_context *context_new(ssphp *home) {
  /* No thread has a number as low as these for its id. */
  static zend_ulong ids;
  ssphp_context *context = calloc(1, sizeof(*context));
  if (context == NULL) return NULL;
  context->home = home;
  context->id = __atomic_add_fetch(&ids, 1, __ATOMIC_RELAXED);
  ssphp_load(home, NULL);
  ssphp_words_clear();
  pthread_t id = (pthread_t)context->id;
  ts_resource_ex(0, &id); /* makes it, and makes it current */
  context->tsrm = tsrm_get_ls_cache();
  _tsrm_ls_cache = context->tsrm;
  home->loaded = context;
  context->heap = zend_mm_get_heap();
  small_pages();
  /* Made once: classes need a context to be made in. */
  if (home->functions == NULL) home->functions = ssphp_functions_new(home->host);
  if (home->functions != NULL) ssphp_functions_add(home->functions);
  ssphp_common_share(context);
  ssphp_opcache_made();
  context->next = home->contexts;
  home->contexts = context;
  return context;
}

/* [fiber; no; no] */
static void context_free(ssphp_context *context) {
  ssphp *home = context->home;
  ssphp_load(home, context);
  ssphp_functions_remove(home->functions);
  ssphp_common_leave(context);
  /* pcre's words of the thread are not the context's to free. */
  void *general = gctx, *stack = jit_stack;
  gctx = jit_stack = NULL;
  borrowed = context->id;
  ts_free_thread();
  borrowed = 0;
  gctx = general;
  jit_stack = stack;
  pcre2_init_ok = 1;
  home->loaded = NULL;
  _tsrm_ls_cache = NULL;
  ssphp_context **at = &home->contexts;
  while (*at != context) at = &(*at)->next;
  *at = context->next;
  free(context->last_page);
  free(context);
}

/* [fiber; no; no] */
ssphp_context *ssphp_context_take(ssphp *home) {
  ssphp_context *context = home->idle;
  if (context == NULL) return context_new(home);
  home->idle = context->older;
  if (home->idle != NULL)
    home->idle->newer = NULL;
  else
    home->oldest = NULL;
  if (--home->nidle < home->spare) home->spare = home->nidle;
  ssphp_load(home, context);
  return context;
}

/* [fiber; no; no] */
static void oldest_free(ssphp *home) {
  ssphp_context *context = home->oldest;
  home->oldest = context->newer;
  if (home->oldest != NULL)
    home->oldest->older = NULL;
  else
    home->idle = NULL;
  home->nidle--;
  context_free(context);
}

/* A request has ended. [fiber; no; no] */
static void idle_age(ssphp *home) {
  if (home->surplus > 0 && home->nidle > FEW) {
    oldest_free(home);
    if (--home->surplus == 0) malloc_trim(0);
  }
  if (++home->requests < PERIOD) return;
  home->requests = 0;
  home->surplus = home->spare >= FEW + TRIMMED ? home->spare - FEW : 0;
  home->spare = home->nidle;
}

/* [fiber; no; no] */
void ssphp_context_give(ssphp_context *context) {
  ssphp *home = context->home;
  if (home->nidle >= IDLE) {
    context_free(context);
    return;
  }
  /* Only the few that serve most keep what ordinary pages need, and none what hungry ones do: together that would be much. */
  keep_chunks(home->nidle < FEW ? 4 : 1);
  context->older = home->idle;
  context->newer = NULL;
  if (home->idle != NULL)
    home->idle->newer = context;
  else
    home->oldest = context;
  home->idle = context;
  home->nidle++;
  idle_age(home);
}

/* [fiber; no; no] */
void ssphp_contexts_trim(ssphp *home, uint32_t keep) {
  while (home->nidle > keep) oldest_free(home);
  home->spare = home->nidle;
  home->surplus = 0;
  malloc_trim(0); /* a burst's contexts stay with the C library otherwise */
}
