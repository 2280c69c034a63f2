/* The allocator of a universe, and who is charged. */
#ifndef SIDESTACK_LUA_MEMORY_H
#define SIDESTACK_LUA_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* What one fiber holds. Account 0 is the interpreter's own. */
typedef struct sslua_account {
  int64_t used;
  int64_t limit; /* INT64_MAX / 2: none, with room for sums */
  uint64_t fiber;
  uint32_t generation; /* of the blocks that belong to it */
  uint32_t next_free;
  int open;
} sslua_account;

typedef struct sslua_memory {
  sslua_account *accounts;
  uint32_t count, capacity, free;
  uint32_t current; /* account that is charged now */
  int64_t total;    /* of all accounts */
  int64_t cap;
  uint32_t victim, victim_generation; /* account chosen at the cap; generation 0: none */
  uint64_t victim_fiber;              /* not told yet; 0: told */
  const void *refused;                /* what was refused at the cap and may be asked again after a collection */
  size_t refused_size;
} sslua_memory;

/* 0: no memory. [interpreter thread; no; no] */
int sslua_memory_open(sslua_memory *m, size_t cap);
/* [interpreter thread; no; no] */
void sslua_memory_close(sslua_memory *m);
/* Index of a new account; 0, the interpreter's, where there is no memory for one. [interpreter thread; no; no] */
uint32_t sslua_account_open(sslua_memory *m, uint64_t fiber, size_t limit);
/* Its blocks become the interpreter's. [interpreter thread; no; no] */
void sslua_account_close(sslua_memory *m, uint32_t index);
/* A lua_Alloc; `ud` is the sslua. [fiber; no; no] */
void *sslua_alloc(void *ud, void *p, size_t osize, size_t nsize);

#endif
