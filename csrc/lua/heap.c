/*
 * mimalloc, version 2, whose heaps belong to a thread, as universes do. malloc stays what the program made it, and mimalloc's own
 * default heaps are left to the program (the server has what Rust allocates there).
 *
 * Destroying a heap must free its own blocks only, and mimalloc lets a heap take over the pages of a thread that has ended: one of the
 * same tag, also a heap that was made to be destroyed. A tag of their own keeps universes from pages of the program's; pages of theirs
 * are never left behind, since a heap is destroyed before its thread ends. They go back to the system at once: what is destroyed is of
 * an interpreter that is lost, or closed.
 *
 * `allocating` is set meanwhile, for faults.c: what is half done here may be shared with other heaps.
 *
 * AddressSanitizer has to see each block, so that there it is malloc's.
 */
#include "heap.h"

#include <stdlib.h>

#include "../signals_state.h"

#ifndef SS_NO_INTERPOSER

#include <mimalloc.h>

/* [interpreter thread; no; no] */
static mi_heap_t *begin(sslua_heap *heap) {
  ss_thread_state.allocating = 1;
  return (mi_heap_t *)heap;
}

/* [interpreter thread; no; no] */
static void *end(void *block) {
  ss_thread_state.allocating = 0;
  return block;
}

/* mimalloc's own heaps, and those of others, have 0. Python's have 1 to 4. */
#define TAG 0x55

sslua_heap *sslua_heap_new(void) { return (sslua_heap *)mi_heap_new_ex(TAG, true, 0); }

void *sslua_heap_calloc(sslua_heap *heap, size_t count, size_t size) { return end(mi_heap_calloc(begin(heap), count, size)); }

void *sslua_heap_realloc(sslua_heap *heap, void *block, size_t size) {
  mi_heap_t *own = begin(heap);
  return end(block == NULL ? mi_heap_malloc(own, size) : mi_heap_realloc(own, block, size));
}

void sslua_heap_free(void *block) {
  ss_thread_state.allocating = 1;
  mi_free(block);
  ss_thread_state.allocating = 0;
}

void sslua_heap_trim(sslua_heap *heap) {
  mi_heap_collect(begin(heap), 1);
  ss_thread_state.allocating = 0;
}

int sslua_heap_destroy(sslua_heap *heap) {
  mi_heap_destroy((mi_heap_t *)heap);
  mi_collect(1);
  return 1;
}

#else

sslua_heap *sslua_heap_new(void) { return calloc(1, 1); }

void *sslua_heap_calloc(sslua_heap *heap, size_t count, size_t size) {
  (void)heap;
  return calloc(count, size);
}

void *sslua_heap_realloc(sslua_heap *heap, void *block, size_t size) {
  (void)heap;
  return realloc(block, size);
}

void sslua_heap_free(void *block) { free(block); }

void sslua_heap_trim(sslua_heap *heap) { (void)heap; }

int sslua_heap_destroy(sslua_heap *heap) {
  (void)heap;
  return 0;
}

#endif
