/*
 * Memory of a context that is soon to be loaded. With hundreds of them none of it is in the cache any more, and the end of a request,
 * and the beginning of the next one, are all over it: so it is asked for a turn before (src/worker/ahead.rs).
 */
#include "inner.h"

#include "ext/standard/basic_functions.h"
#include "php_globals.h"

enum { LINE = 64 };

/* What is at the beginning of each module's globals. */
enum { MODULE = 2 * LINE };

/* And of the heap: itself, and what it notes of its first pages. */
enum { HEAP = 16 * LINE };

/* What TSRM calls a thread begins with this; the others are private to it. */
typedef struct storage {
  void **globals;
  int count;
} storage;

static void ask_for(const void *memory, size_t size) {
  for (size_t at = 0; at < size; at += LINE) __builtin_prefetch((const char *)memory + at, 1);
}

/* [interpreter thread; no; no] */
void ssphp_expect(const ssphp_run *run, int rest) {
  const ssphp_context *context = run->context;
  if (context == NULL) return;
  if (!rest) {
    ask_for(context, sizeof(*context));
    return;
  }
  const char *tsrm = context->tsrm;
  ask_for(tsrm + sapi_globals_offset, sizeof(sapi_globals_struct));
  ask_for(tsrm + core_globals_offset, sizeof(php_core_globals));
  ask_for(tsrm + compiler_globals_offset, sizeof(zend_compiler_globals));
  ask_for(tsrm + executor_globals_offset, sizeof(zend_executor_globals));
  const storage *modules = context->tsrm;
  for (int i = 0; i < modules->count; i++) ask_for(modules->globals[i], MODULE);
  ask_for(modules->globals[TSRM_UNSHUFFLE_RSRC_ID(basic_globals_id)], sizeof(php_basic_globals));
  ask_for(context->heap, HEAP);
}
