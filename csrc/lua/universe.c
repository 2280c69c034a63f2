/*
 * Universes and their Lua threads.
 *
 * A run needs a Lua thread. Making one allocates, and both that and dropping it touch the main state, so threads are
 * kept: anchored in the registry once, then passed from run to run through a free list in plain C memory. The collector walks
 * each of them in every cycle; where the worker has all garbage collected, after a burst, or memory is refused, all but
 * IDLE_THREADS of the idle ones are let go.
 *
 * The main state is shared by all fibers. Whoever uses it does so in one protected call that cannot suspend and leaves
 * its stack as it was.
 */
#include "universe.h"

#include <string.h>

#include "environment.h"
#include "interrupt.h"
#include "require.h"

enum { IDLE_THREADS = 256 };

const char sslua_key_threads = 0;
const char sslua_key_refs = 0;
const char sslua_key_scripts = 0;
const char sslua_key_loaded = 0;
const char sslua_key_error = 0;
const char sslua_key_buffer = 0;
const char sslua_key_methods = 0;
const char sslua_key_anchors = 0;

/* An error outside every protected call: a bug of the shim. Lua aborts after it. [fiber; no; no] */
static int panic(lua_State *L) {
  (void)L;
  static const char text[] = "sidestack: a Lua error outside every protected call\n";
  fwrite(text, 1, sizeof(text) - 1, stderr);
  return 0;
}

/* [interpreter thread; no; no] */
sslua *sslua_new(const ss_host_desc *host, size_t memory, unsigned settings, const char *prelude, size_t prelude_len) {
  sslua_heap *heap = sslua_heap_new();
  if (heap == NULL) return NULL;
  sslua *u = sslua_heap_calloc(heap, 1, sizeof(*u));
  if (u == NULL) {
    sslua_heap_destroy(heap);
    return NULL;
  }
  u->heap = heap;
  u->host = host;
  u->settings = settings;
  u->prelude = prelude;
  u->prelude_len = prelude_len;
  if (!sslua_memory_open(&u->memory, heap, memory) || (u->L = lua_newstate(sslua_alloc, u)) == NULL) {
    sslua_free(u);
    return NULL;
  }
  lua_atpanic(u->L, panic);
  *sslua_run_of(u->L) = NULL; /* what new threads inherit */
  return u;
}

/* [interpreter thread; no; no] */
void sslua_free(sslua *u) {
  sslua_heap *heap = u->heap;
  if (sslua_heap_destroy(heap)) return;
  for (uint32_t i = 0; i < u->nscripts; i++) sslua_heap_free(u->scripts[i].folder);
  sslua_heap_free(u->scripts);
  sslua_heap_free(u->idle);
  for (uint32_t i = 1; i < u->nslots; i++) sslua_home_drop(u->slots[i].home);
  sslua_heap_free(u->slots);
  sslua_heap_free(u->class_meta);
  sslua_loading_free(u);
  sslua_memory_close(&u->memory);
  sslua_heap_free(u);
  sslua_heap_free(heap);
}

/* [interpreter thread; no; no] */
int sslua_reclaim(sslua *u) { return sslua_heap_destroy(u->heap); }

/* [interpreter thread; no; no] */
void sslua_run_begin(sslua *u, sslua_run *run, uint64_t fiber, size_t memory) {
  memset(run, 0, sizeof(*run));
  run->universe = u;
  run->fiber = fiber;
  run->account = sslua_account_open(&u->memory, fiber, memory);
}

/* [interpreter thread; no; no] */
void sslua_run_end(sslua_run *run, int returned) {
  sslua *u = run->universe;
  if (u == NULL) return;
  if (u->run == run) {
    u->run = NULL;
    u->memory.current = 0;
  }
  sslua_loading_abandon(u, run); /* a guard that has not run its course yet */
  (void)returned;
  sslua_home_drop(run->home);
  run->home = NULL;
  sslua_account_close(&u->memory, run->account);
  run->account = 0;
  run->universe = NULL;
}

/* [interpreter thread; no; no] */
void sslua_enter(sslua_run *run, const sslua_saved *saved) {
  sslua *u = run->universe;
  u->run = run;
  u->memory.current = run->account;
  ss_thread_state.guest = u;
  sslua_thread_state.current = saved->current;
  if (ss_thread_state.interrupt && saved->current != NULL) sslua_arm(saved->current);
  sslua_env_select(u, run);
}

/* [interpreter thread; no; no] */
void sslua_leave(sslua *u, sslua_saved *saved) {
  saved->current = sslua_thread_state.current;
  sslua_thread_state.current = NULL;
  u->run = NULL;
  u->memory.current = 0;
}

/* [interpreter thread; no; no] */
int sslua_in_finalizer(const sslua *u) {
  /* What lua_gc(L, LUA_GCCOUNT) == -1 tells, without a call that could look up. */
  return u->L != NULL && (G(u->L)->gcstp & (GCSTPGC | GCSTPCLS)) != 0;
}

/* [fiber; no; may raise] */
Table *sslua_anchor(lua_State *L) {
  const void *table = lua_topointer(L, -1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_anchors);
  lua_insert(L, -2);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  return (Table *)table;
}

/* [fiber; no; may raise] */
static int new_thread(lua_State *L) {
  sslua *u = sslua_of(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_threads) == LUA_TNIL) { /* the first one */
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &sslua_key_anchors);
    lua_newtable(L);
    u->threads = (Table *)lua_topointer(L, -1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &sslua_key_threads);
    lua_replace(L, 2);
  }
  lua_State *T = lua_newthread(L);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  *(lua_State **)lua_touserdata(L, 1) = T;
  return 0;
}

/* [fiber; no; no] */
lua_State *sslua_thread_take(sslua *u) {
  if (u->nidle > 0) return u->idle[--u->nidle];
  /* It outlives the fiber: the interpreter pays. */
  uint32_t account = u->memory.current;
  u->memory.current = 0;
  lua_State *T = NULL;
  lua_pushcfunction(u->L, new_thread);
  lua_pushlightuserdata(u->L, &T);
  if (lua_pcall(u->L, 1, 0, 0) != LUA_OK) {
    lua_pop(u->L, 1);
    T = NULL;
  }
  u->memory.current = account;
  return T;
}

/* [fiber; no; no] */
void sslua_threads_trim(sslua *u) {
  while (u->nidle > IDLE_THREADS) {
    TValue key;
    setthvalue(u->L, &key, u->idle[--u->nidle]);
    setempty((TValue *)luaH_get(u->threads, &key)); /* as assigning nil does; nothing is allocated */
  }
}

/* [fiber; may suspend; no] */
void sslua_thread_give(sslua *u, lua_State *T) {
  T->allowhook = 1; /* an error raised in a hook leaves it 0 */
  if (lua_status(T) != LUA_OK || T->ci != &T->base_ci || T->tbclist.p != T->stack.p) lua_closethread(T, NULL);
  lua_settop(T, 0);
  if (T->hookmask) lua_sethook(T, NULL, 0, 0);
  T->allowhook = 1;
  *sslua_run_of(T) = NULL;
  if (u->nidle == u->idle_cap) {
    uint32_t cap = u->idle_cap ? u->idle_cap * 2 : 16;
    lua_State **idle = sslua_heap_realloc(u->heap, u->idle, cap * sizeof(*idle));
    if (idle == NULL) return; /* it stays anchored, unused */
    u->idle = idle;
    u->idle_cap = cap;
  }
  u->idle[u->nidle++] = T;
}
