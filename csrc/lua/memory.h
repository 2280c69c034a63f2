/* The allocator of a universe, and who is charged. */
#ifndef SIDESTACK_LUA_MEMORY_H
#define SIDESTACK_LUA_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "heap.h"

struct lua_State;

/* What one fiber holds. Account 0 is the interpreter's own. */
typedef struct sslua_account {
  int64_t used;
  int64_t limit; /* INT64_MAX / 2: none, with room for sums */
  int64_t floor; /* `used` after the last collection for a request of its own that was refused */
  uint64_t fiber;
  uint32_t generation; /* of the blocks that belong to it */
  uint32_t next_free;
  int open;
} sslua_account;

/* What refused requests may still spend on collections that do not help. */
typedef struct sslua_allowance {
  unsigned spent;
  uint64_t since, cost; /* nanoseconds: of the last refill, of the last collection */
} sslua_allowance;

/* Why a request was refused. */
enum sslua_refusal { SSLUA_OWN_LIMIT, SSLUA_CAP, SSLUA_REFUSALS };

typedef struct sslua_memory {
  sslua_heap *heap;
  sslua_account *accounts;
  uint32_t count, capacity, free;
  uint32_t current; /* account that is charged now */
  int64_t total;    /* of all accounts */
  int64_t cap;
  uint32_t victim, victim_generation; /* account chosen at the cap; generation 0: none */
  uint64_t victim_fiber;              /* not told yet; 0: told */
  sslua_allowance allowances[SSLUA_REFUSALS];
  int64_t floor;   /* `total` after the last collection at the cap */
  int refusal;     /* enum sslua_refusal: of the last request that was refused */
  int hopeless;    /* that one is too large whatever is collected */
  int again;       /* that one is asked again now */
  int collected;   /* after a collection */
} sslua_memory;

/* 0: no memory. [interpreter thread; no; no] */
int sslua_memory_open(sslua_memory *m, sslua_heap *heap, size_t cap);
/* [interpreter thread; no; no] */
void sslua_memory_close(sslua_memory *m);
/* Index of a new account; 0, the interpreter's, where there is no memory for one. [interpreter thread; no; no] */
uint32_t sslua_account_open(sslua_memory *m, uint64_t fiber, size_t limit);
/* Its blocks become the interpreter's. [interpreter thread; no; no] */
void sslua_account_close(sslua_memory *m, uint32_t index);
/* luaC_fullgc for lmem.c, which calls it when a request was refused: see config.h. [fiber; no; no] */
void sslua_fullgc_(struct lua_State *L, int emergency);
/* A lua_Alloc; `ud` is the sslua. [fiber; no; no] */
void *sslua_alloc(void *ud, void *p, size_t osize, size_t nsize);

#endif
