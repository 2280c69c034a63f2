/*
 * Memory, charged to the fiber that asked for it.
 *
 * Every block has a header that names the account it belongs to, by index and generation. Closing an account adds what it
 * holds to the interpreter's and changes the generation, so all its blocks pass to the interpreter without a walk. A block
 * belongs to who last made it grow, the whole of it (a fiber that fills another's table pays for the table), but what
 * was the interpreter's stays so: of a block that outlived its fiber only the growth is charged. Who frees or shrinks a
 * block makes no difference: its owner gets the bytes back. So an account is the sum of its blocks at all times.
 *
 * Two limits. Over its own, a fiber gets NULL: Lua collects garbage, asks again, and raises a memory error. At the
 * interpreter's cap Lua may collect first too; if that does not help, the largest fiber is named as the victim (the worker cancels it),
 * a slice is forced so that the worker comes by, and the asker, unless it is that fiber, may go up to a quarter over the
 * cap. While Lua cannot collect (it is moving a Lua stack), either limit may be passed by a quarter: what is garbage would
 * else end an innocent call. Sizes are bytes as Lua asks for them, headers not counted.
 *
 * A collection walks everybody's heap, so a script that is refused without end could stop its neighbours by it. One is
 * made if the limit has come nearer by a sixteenth since the last one, or else on allowance: eight that did
 * not help, given back so slowly that these take a tenth of the time.
 */
#include "memory.h"

#include <string.h>
#include <time.h>

#include "interrupt.h"
#include "universe.h"

typedef struct header {
  uint32_t owner;
  uint32_t generation;
  uint64_t base; /* bytes of it that are the interpreter's, not the owner's. Sixteen bytes in all: blocks stay aligned */
} header;

/* [interpreter thread; no; no] */
int sslua_memory_open(sslua_memory *m, sslua_heap *heap, size_t cap) {
  memset(m, 0, sizeof(*m));
  m->heap = heap;
  m->capacity = 16;
  m->accounts = sslua_heap_calloc(m->heap, m->capacity, sizeof(*m->accounts));
  if (m->accounts == NULL) return 0;
  m->count = 1;
  m->accounts[0].limit = INT64_MAX / 2;
  m->accounts[0].generation = 1;
  m->accounts[0].open = 1;
  m->cap = cap == 0 || cap > INT64_MAX / 2 ? INT64_MAX / 2 : (int64_t)cap;
  return 1;
}

/* [interpreter thread; no; no] */
void sslua_memory_close(sslua_memory *m) { sslua_heap_free(m->accounts); }

/* [interpreter thread; no; no] */
uint32_t sslua_account_open(sslua_memory *m, uint64_t fiber, size_t limit) {
  uint32_t index = m->free;
  if (index != 0) {
    m->free = m->accounts[index].next_free;
  } else {
    if (m->count == m->capacity) {
      sslua_account *grown = sslua_heap_realloc(m->heap, m->accounts, (size_t)m->capacity * 2 * sizeof(*grown));
      if (grown == NULL) return 0;
      m->accounts = grown;
      m->capacity *= 2;
    }
    index = m->count++;
    m->accounts[index].generation = 1;
  }
  sslua_account *a = &m->accounts[index];
  a->used = a->floor = 0;
  a->limit = limit == 0 || limit > INT64_MAX / 2 ? INT64_MAX / 2 : (int64_t)limit;
  a->fiber = fiber;
  a->open = 1;
  return index;
}

/* [interpreter thread; no; no] */
void sslua_account_close(sslua_memory *m, uint32_t index) {
  if (index == 0) return;
  sslua_account *a = &m->accounts[index];
  m->accounts[0].used += a->used;
  a->used = 0;
  a->open = 0;
  /* A block could outlive 2^32 runs of one index; it would then be charged to a stranger, in bytes, not in safety. */
  if (++a->generation == 0) a->generation = 1;
  a->next_free = m->free;
  m->free = index;
}

/* The account to cancel at the cap: the one chosen before, while it lives, or the largest; 0: no fiber. [fiber; no; no] */
static uint32_t victim(const sslua_memory *m) {
  if (m->victim_generation != 0) return m->victim;
  uint32_t largest = 0;
  for (uint32_t i = 1; i < m->count; i++)
    if (m->accounts[i].open && (largest == 0 || m->accounts[i].used > m->accounts[largest].used)) largest = i;
  return largest;
}

/* Whether Lua answers NULL with a collection and asks again. [fiber; no; no] */
static int collects(const sslua *u) { return u->L != NULL && completestate(G(u->L)) && !G(u->L)->gcstopem; }

/* ---- collections for who was refused ---- */

enum { NEARER = 16, ALLOWANCE = 8, SHARE = 10 };

/* [any; no; no] */
static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Whether the allowance has room for one more; then it is spent. [fiber; no; no] */
static int spend(sslua_allowance *a, uint64_t at) {
  uint64_t one = (a->cost + 1) * SHARE, back = (at - a->since) / one;
  if (back > 0) {
    a->spent = back < a->spent ? a->spent - (unsigned)back : 0;
    a->since += back * one;
  }
  if (a->spent >= ALLOWANCE) return 0;
  if (a->spent++ == 0) a->since = at;
  return 1;
}

/* [fiber; no; no] */
void sslua_fullgc_(lua_State *L, int emergency) {
  sslua_memory *m = &sslua_of(L)->memory;
  sslua_account *asker = &m->accounts[m->current];
  sslua_allowance *allowance = &m->allowances[m->refusal];
  int own = m->refusal == SSLUA_OWN_LIMIT;
  m->again = 1;
  m->collected = 0;
  if (m->hopeless) return;
  uint64_t begun = now();
  int nearer = own ? asker->used - asker->floor >= asker->limit / NEARER : m->total - m->floor >= m->cap / NEARER;
  if (!nearer && !spend(allowance, begun)) return;
  sslua_threads_trim(sslua_of(L)); /* kept for later calls, but not at the cost of one that is refused */
  luaC_fullgc(L, emergency);
  allowance->cost = now() - begun;
  if (own)
    asker->floor = asker->used;
  else
    m->floor = m->total;
  m->collected = !nearer;
}

/* [fiber; no; no] */
static void *refuse(sslua_memory *m, int refusal, int hopeless) {
  m->refusal = refusal;
  m->hopeless = hopeless;
  return NULL;
}

/* ---- the allocator ---- */

/* Whether the asker is refused when the cap is reached. [fiber; no; no] */
static int refused_at_cap(sslua *u, int64_t delta, int again) {
  sslua_memory *m = &u->memory;
  if (!collects(u)) return m->total + delta > m->cap + m->cap / 4;
  if (m->accounts[m->victim].generation != m->victim_generation) m->victim_generation = 0; /* it is gone */
  if (m->victim_generation == 0 && !again) return 1; /* Lua collects all garbage and asks again */
  uint32_t largest = victim(m);
  if (largest == 0 || largest == m->current) return 1;
  if (m->victim_generation == 0) {
    m->victim = largest;
    m->victim_generation = m->accounts[largest].generation;
    m->victim_fiber = m->accounts[largest].fiber;
  }
  __atomic_fetch_or(&ss_thread_state.interrupt, SS_INTERRUPT_SLICE, __ATOMIC_RELAXED);
  sslua_interrupt();
  return m->total + delta > m->cap + m->cap / 4;
}

/* Its owner gets back what a block of `osize` bytes loses. [fiber; no; no] */
static void credit(sslua_memory *m, header *h, size_t osize, size_t nsize) {
  int64_t cut = (int64_t)(osize - nsize), own = (int64_t)(osize - h->base);
  sslua_account *owner = &m->accounts[h->owner];
  if (owner->generation != h->generation) own = 0;
  if (own > cut) own = cut;
  owner->used -= own;
  m->accounts[0].used -= cut - own;
  if (h->base > nsize) h->base = nsize;
  m->total -= cut;
}

/* [fiber; no; no] */
void *sslua_alloc(void *ud, void *p, size_t osize, size_t nsize) {
  sslua *u = ud;
  sslua_memory *m = &u->memory;
  header *h = p == NULL ? NULL : (header *)p - 1;
  if (nsize == 0) {
    if (h == NULL) return NULL;
    credit(m, h, osize, 0);
    sslua_heap_free(h);
    return NULL;
  }
  if (nsize > PTRDIFF_MAX - sizeof(header)) return NULL;
  if (h != NULL && nsize <= osize) {
    header *moved = sslua_heap_realloc(m->heap, h, sizeof(header) + nsize);
    if (moved == NULL) return NULL;
    credit(m, moved, osize, nsize);
    return moved + 1;
  }
  int again = m->again;
  m->again = 0;
  sslua_account *asker = &m->accounts[m->current], *owner = NULL;
  size_t base = 0, before = 0;
  if (h != NULL) { /* without a block osize is a type */
    before = osize;
    owner = &m->accounts[h->owner];
    if (owner->generation != h->generation || h->owner == 0) {
      owner = NULL;
      base = osize;
    } else {
      base = h->base;
    }
  }
  int64_t delta = (int64_t)(nsize - before), charge = owner == asker ? delta : (int64_t)(nsize - base);
  int64_t over = asker->used + charge - asker->limit;
  if (over > 0 && (collects(u) || over > asker->limit / 4)) return refuse(m, SSLUA_OWN_LIMIT, charge > asker->limit);
  if (m->total + delta > m->cap && refused_at_cap(u, delta, again)) return refuse(m, SSLUA_CAP, delta > m->cap + m->cap / 4);
  header *moved = sslua_heap_realloc(m->heap, h, sizeof(header) + nsize);
  if (moved == NULL) return refuse(m, SSLUA_CAP, 0);
  if (again && m->collected && m->allowances[m->refusal].spent > 0) m->allowances[m->refusal].spent--; /* it helped */
  if (owner != NULL && owner != asker) owner->used -= (int64_t)(osize - base);
  asker->used += charge;
  m->total += delta;
  moved->owner = m->current;
  moved->generation = asker->generation;
  moved->base = base;
  return moved + 1;
}

/* sslua_alloc that collects garbage before it gives up, as luaM_ does. [fiber; no; no] */
static void *alloc_or_collect(void *ud, void *p, size_t osize, size_t nsize) {
  sslua *u = ud;
  void *block = sslua_alloc(ud, p, osize, nsize);
  lua_State *L = sslua_thread_state.current;
  if (block == NULL && nsize > 0 && L != NULL && collects(u)) {
    sslua_fullgc_(L, 1); /* as in an emergency: no finalizers */
    block = sslua_alloc(ud, p, osize, nsize);
  }
  return block;
}

/* See config.h. [fiber; no; no] */
sslua_allocator sslua_getallocf_(lua_State *L, void **ud) {
  *ud = G(L)->ud;
  return alloc_or_collect;
}

/* [interpreter thread; no; no] */
uint64_t sslua_over_memory(sslua *u) {
  uint64_t fiber = u->memory.victim_fiber;
  u->memory.victim_fiber = 0;
  return fiber;
}

/* [interpreter thread; no; no] */
size_t sslua_memory_used(const sslua *u) { return u->memory.total > 0 ? (size_t)u->memory.total : 0; }
