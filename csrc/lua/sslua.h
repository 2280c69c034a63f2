/*
 * The Lua guest as Rust sees it: what src/guest/lua/bindings.rs is generated from.
 *
 * A universe is one lua_State with all its threads; one interpreter thread owns it. Guest code runs only in
 * sslua_entry(), on a fiber. Everything else here works on plain C memory (and one table slot, in sslua_enter), from the
 * thread's own stack, and neither allocates from Lua's heap nor raises.
 */
#ifndef SIDESTACK_LUA_SSLUA_H
#define SIDESTACK_LUA_SSLUA_H

#include <stddef.h>

#include "../crossing.h"

typedef struct sslua sslua;
struct lua_State;

/* What scripts may use beyond the safe set. */
enum sslua_setting {
  SSLUA_DEBUG = 1,          /* the whole debug library (else only debug.traceback) */
  SSLUA_OS_EXIT = 2,        /* os.exit */
  SSLUA_OS_SETLOCALE = 4,   /* os.setlocale: process-wide */
  SSLUA_IO = 8,             /* io; os.execute, remove, rename, tmpname; dofile, loadfile */
  SSLUA_SCRIPT_GC = 16,     /* __gc in tables' metatables */
  SSLUA_COLLECTGARBAGE = 32,/* every option of collectgarbage */
  SSLUA_BINARY_CHUNKS = 64, /* load() takes precompiled chunks: these can crash the process */
};

enum sslua_task {
  SSLUA_START,
  SSLUA_LOAD,
  SSLUA_CALL,
  SSLUA_CALL_FUNCTION,
  SSLUA_EVAL,
  SSLUA_RELEASE,
  SSLUA_COLLECT,
  SSLUA_STOP,
};

/* One run: what a fiber is to do, and the shim's own record of it. It stays at its address while the run lasts. */
typedef struct sslua_run {
  /* What each turn reads: in one place, since thousands of runs do not fit into the caches. */
  sslua *universe;
  void *globals;    /* Table: globals that it has set; NULL: none yet */
  void *outer;      /* Table: where its other globals come from */
  uint32_t account; /* index in the universe's accounts */

  int task; /* enum sslua_task */
  int by_reference;
  uint32_t script;
  uint32_t nargs;
  const ss_value *args;
  const char *name; /* of the chunk, or of the export */
  size_t name_len;
  const char *folder;
  size_t folder_len;
  const char *source;
  size_t source_len;
  uint64_t slot; /* CALL_FUNCTION */
  const uint64_t *slots; /* RELEASE */
  size_t nslots;

  /* The shim's. */
  uint64_t fiber;
  int returned;             /* ss_return() has been called */
  struct lua_State *thread; /* the Lua thread it runs on */
  struct sslua_home *home;  /* where it finds modules if it belongs to no script; NULL: nowhere */
  uint64_t waits;           /* id of the module load that it waits for; 0: none */
  uint64_t random[4];       /* math.random's state; all zero: not seeded */
} sslua_run;

/* All that a switch saves beyond the C stack. */
typedef struct sslua_saved {
  struct lua_State *current;
} sslua_saved;

/*
 * A universe, with no library opened and no guest code run; NULL: no memory. `host` and `prelude` (Lua text that builds the module
 * `sidestack`) outlive it. `memory`: bytes for all fibers together. [interpreter thread; no; no]
 */
sslua *sslua_new(const ss_host_desc *host, size_t memory, unsigned settings, const char *prelude, size_t prelude_len);

/* Frees what SSLUA_STOP leaves. [interpreter thread; no; no] */
void sslua_free(sslua *universe);

/*
 * Frees a universe of which nothing runs again, whatever it was in the middle of: all its memory goes at once, and nothing in
 * it is looked at. Files that scripts have open stay open. 0: it cannot be done here, and the memory is lost.
 * [interpreter thread; no; no]
 */
int sslua_reclaim(sslua *universe);

/* Makes `run` an empty record, with its memory account, for a new fiber. [interpreter thread; no; no] */
void sslua_run_begin(sslua *universe, sslua_run *run, uint64_t fiber, size_t memory);

/* Its fiber is gone; `returned` is 0 if it was abandoned. [interpreter thread; no; no] */
void sslua_run_end(sslua_run *run, int returned);

/* What a fiber starts in; `run` is a sslua_run. [fiber; may suspend; no] */
void sslua_entry(void *run);

/* Before `run`'s fiber gets the thread. [interpreter thread; no; no] */
void sslua_enter(sslua_run *run, const sslua_saved *saved);

/*
 * Asks for memory of a suspended fiber that is soon to have the thread: its Lua thread's record, and later (`rest`) the frames
 * and values that this names. [interpreter thread; no; no]
 */
void sslua_expect(const sslua_saved *saved, int rest);

/* After a fiber gave the thread up. [interpreter thread; no; no] */
void sslua_leave(sslua *universe, sslua_saved *saved);

/* Makes running guest code call ss_poll() soon. [signal handler on the interpreter thread; no; no] */
void sslua_interrupt(void);

/*
 * Writes the stack of the script that runs, a line each, innermost first, "app.lua:14: in function <app.lua:9>", terminated.
 * Lua's structures may be in any state. The first line's number is that of the last instruction that saved its place: the one
 * that faulted, or one shortly before. [interpreter thread, also in a signal handler; no; no]
 */
void sslua_where(char *text, size_t size);

/* [interpreter thread; no; no] */
int sslua_in_finalizer(const sslua *universe);

/* The fiber to cancel since the interpreter's cap was reached; 0: none. Told once. [interpreter thread; no; no] */
uint64_t sslua_over_memory(sslua *universe);

/*
 * The same of a suspended fiber's run, or only the place of its innermost frame, "app.lua:22". Returns the bytes written; 0: not
 * known. Reads only. [interpreter thread; no; no]
 */
size_t sslua_stack(const sslua_run *run, const sslua_saved *saved, int whole, char *text, size_t size);

/* Bytes on Lua's heap. [interpreter thread; no; no] */
size_t sslua_memory_used(const sslua *universe);

#endif
