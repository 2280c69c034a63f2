/*
 * The heap of a universe: all of its memory and nothing else, so that it can go whole, whatever state what lies in it is
 * in.
 */
#ifndef SIDESTACK_LUA_HEAP_H
#define SIDESTACK_LUA_HEAP_H

#include <stddef.h>

typedef struct sslua_heap sslua_heap;

/* A heap of the calling thread, which alone may use it; NULL: no memory. [interpreter thread; no; no] */
sslua_heap *sslua_heap_new(void);

/* Zeroed. [interpreter thread; no; no] */
void *sslua_heap_calloc(sslua_heap *heap, size_t count, size_t size);
/* As realloc(), but for a size of 0, which is never asked for. [interpreter thread; no; no] */
void *sslua_heap_realloc(sslua_heap *heap, void *block, size_t size);
/* [interpreter thread; no; no] */
void sslua_heap_free(void *block);

/* Gives memory that is free back to the system. [interpreter thread; no; no] */
void sslua_heap_trim(sslua_heap *heap);

/* All that is in it is gone. 0: that cannot be done here, and nothing was. [interpreter thread; no; no] */
int sslua_heap_destroy(sslua_heap *heap);

#endif
