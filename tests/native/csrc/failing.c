/*
 * Allocations that fail: the linker sends the allocator's calls here (`--wrap`, see build.rs). Only those of guest code on a
 * fiber are counted, and fail when they are told to.
 */
#include <native.h>

#include <errno.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
/* Of csrc/lua/heap.h. */
void *__real_sslua_heap_calloc(void *heap, size_t count, size_t size);
void *__real_sslua_heap_realloc(void *heap, void *block, size_t size);

/* The first that fails and the first that does not again, from 1; and how many there were. */
static long first, last, count, failed;

/* Those from `from` to before `to` fail; counting begins anew. [any thread, no fiber runs; no; no] */
void failing_set(long from, long to) {
  first = from, last = to;
  count = failed = 0;
}

/* [any thread, no fiber runs; no; no] */
long failing_count(void) { return count; }

/* [any thread, no fiber runs; no; no] */
long failing_failed(void) { return failed; }

static int fails(void) {
  const ss_thread *thread = ss_current_thread();
  if (!thread->attached || thread->in_host || thread->place != SS_ON_FIBER || !thread->fiber) return 0;
  long at = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
  if (at < first || at >= last) return 0;
  __atomic_add_fetch(&failed, 1, __ATOMIC_RELAXED);
  errno = ENOMEM;
  return 1;
}

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t members, size_t size) { return fails() ? NULL : __real_calloc(members, size); }
void *__wrap_sslua_heap_calloc(void *heap, size_t members, size_t size) {
  return fails() ? NULL : __real_sslua_heap_calloc(heap, members, size);
}
void *__wrap_sslua_heap_realloc(void *heap, void *block, size_t size) {
  return fails() ? NULL : __real_sslua_heap_realloc(heap, block, size);
}
void *__wrap_realloc(void *block, size_t size) { return fails() ? NULL : __real_realloc(block, size); }
