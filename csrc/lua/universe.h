/* The universe's record, and Lua's headers (internal ones too) for all files of the shim. */
#ifndef SIDESTACK_LUA_UNIVERSE_H
#define SIDESTACK_LUA_UNIVERSE_H

#include "config.h"
/* config.h is made for Lua's own files; of its macros for lstrlib.c and loslib.c the shim wants none. */
#undef memcpy
#undef memchr
#undef memcmp

#include "lua.h"

#include "lauxlib.h"
#include "lualib.h"

#include "lapi.h"
#include "ldo.h"
#include "lgc.h"
#include "lobject.h"
#include "lstate.h"
#include "lstring.h"
#include "ltable.h"
#include "ltm.h"

#include "heap.h"
#include "home.h"
#include "memory.h"
#include "sslua.h"

/* Keys in the registry: the addresses of these. */
extern const char sslua_key_threads; /* set of all our Lua threads: thread → true */
extern const char sslua_key_refs;    /* reference table */
extern const char sslua_key_scripts; /* number → exports */
extern const char sslua_key_loaded;  /* what require returns: name → module */
extern const char sslua_key_error;   /* metatable of error objects */
extern const char sslua_key_buffer;  /* metatable of buffers that hold references */
extern const char sslua_key_methods; /* while it starts: class name → methods */
extern const char sslua_key_anchors; /* set of tables that C points to */

/* A loaded script. */
typedef struct sslua_script {
  Table *globals; /* what its chunk set as globals, anchored; NULL: none */
  Table *exports; /* anchored in the registry's scripts; NULL: not loaded */
  char *folder;   /* malloc'ed; NULL: not loaded */
  const char *name; /* in the same block */
  size_t folder_len;
} sslua_script;

/* A slot of the reference table. */
typedef struct sslua_slot {
  uint32_t script;    /* of the run that made it, + 1; 0: none */
  uint32_t next_free; /* in the free list; UINT32_MAX: it is taken */
  sslua_home *home;   /* of that run, where it belongs to no script; NULL: none, or not taken */
} sslua_slot;

struct sslua {
  sslua_heap *heap; /* that this and all else of the universe lies in */
  lua_State *L; /* the main state. No guest code but finalizers runs on it, and nothing suspends on it. NULL: stopped */
  const ss_host_desc *host;
  unsigned settings;
  const char *prelude;
  size_t prelude_len;
  sslua_memory memory;
  sslua_run *run; /* whose fiber is current; NULL: none */

  Table *threads; /* the registry's set of all of them; NULL: there are none yet */
  lua_State **idle; /* free list of Lua threads */
  uint32_t nidle, idle_cap;

  sslua_slot *slots; /* slot 0 is not used */
  uint32_t nslots, slots_cap, free_slot;

  sslua_script *scripts;
  uint32_t nscripts;

  Table *base;     /* the shared globals */
  Table *env;      /* the proxy that every chunk has as _ENV */
  Table *env_meta; /* its metatable; __index and __newindex follow the current run */
  Table *env_read; /* what __index is now */
  Table *env_own;  /* what __newindex is now; NULL: a function of environment.c */

  Table **class_meta; /* metatables of host.classes */
  Table *error_meta;
  struct sslua_loading *loading; /* modules being loaded now */
  uint64_t loading_ids;
  uint32_t wait_function, done_function; /* sidestack.core's module_wait and module_done, id + 1; 0: none */
};

/* [any; no; no] */
static inline sslua *sslua_of(lua_State *L) { return (sslua *)G(L)->ud; }

/* The run of a fiber's own Lua thread; NULL for a script's coroutine. [any; no; no] */
static inline sslua_run **sslua_run_of(lua_State *L) { return (sslua_run **)lua_getextraspace(L); }

/* Keeps the table on top of the stack alive for good and pops it. [fiber; no; may raise] */
Table *sslua_anchor(lua_State *L);

/* A Lua thread from the free list, or a new one; NULL: no memory. [fiber; no; no] */
lua_State *sslua_thread_take(sslua *u);
/* Closes what is open on it and gives it back. [fiber; may suspend; no] */
void sslua_thread_give(sslua *u, lua_State *T);
/* Lets go of idle ones, but for a few: garbage then. [fiber; no; no] */
void sslua_threads_trim(sslua *u);

#endif
