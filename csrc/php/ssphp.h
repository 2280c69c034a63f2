/*
 * The PHP guest as Rust sees it: what src/guest/php/bindings.rs is generated from. Nothing of PHP's own headers is here.
 *
 * PHP is started once in a process, on a thread of its own that never ends. An interpreter (ssphp) is what one interpreter
 * thread has of it: a pool of contexts, each with all that PHP calls a thread. A request gets one; PHP code runs only in
 * ssphp_entry(), on a fiber. The rest works on plain C memory, from the interpreter thread's own stack, and neither
 * allocates from PHP's heap nor raises.
 */
#ifndef SIDESTACK_PHP_SSPHP_H
#define SIDESTACK_PHP_SSPHP_H

#include <stddef.h>

#include "../crossing.h"

typedef struct ssphp ssphp;
typedef struct ssphp_context ssphp_context;

enum ssphp_task {
  SSPHP_START,
  SSPHP_LOAD,
  SSPHP_CALL,
  SSPHP_CALL_FUNCTION,
  SSPHP_EVAL,
  SSPHP_MAIN,
  SSPHP_RELEASE,
  SSPHP_COLLECT,
  SSPHP_STOP,
};

/* What each fiber of a context has of the executor's state; see swap.c. */
#define SSPHP_EXECUTOR_WORDS 20

/* One run: what a fiber is to do, and the shim's own record of it. It stays at its address while the run lasts. */
typedef struct ssphp_run {
  ssphp *home;
  int task; /* enum ssphp_task */
  int by_reference;
  uint32_t script;
  uint32_t nargs;
  const ss_value *args;
  const char *name; /* of the script, or of the export */
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
  size_t memory;              /* the most that its request may hold, in bytes */
  ssphp_context *context;     /* where it runs; NULL: nowhere yet, or no more */
  int returned;               /* ss_return() has been called */
  int killed;                 /* the host has killed it */
  int timed_out;              /* it had the error that its request's time is over */
  uintptr_t executor[SSPHP_EXECUTOR_WORDS]; /* its words while another fiber of its context has them */
} ssphp_run;

/*
 * Starts PHP with these settings ("name=value\n"...), and `file`, a php.ini, or NULL; `command_line`: for a program with the
 * process's own input and output, as PHP's command line. NULL, or what is wrong. The calling thread must never end. Once in
 * a process. [any thread but an interpreter's; no; no]
 */
const char *ssphp_startup(const char *settings, const char *file, int command_line);

/* An interpreter of no contexts; NULL: no memory. `host` outlives it. `memory`: bytes for all requests together.
   [interpreter thread; no; no] */
ssphp *ssphp_new(const ss_host_desc *host, size_t memory);

/* Frees what SSPHP_STOP leaves. [interpreter thread; no; no] */
void ssphp_free(ssphp *home);

/* No fiber of it ever runs again, and its contexts stay as they are. [interpreter thread; no; no] */
void ssphp_lost(ssphp *home);

/* Makes `run` an empty record for a new fiber. [interpreter thread; no; no] */
void ssphp_run_begin(ssphp *home, ssphp_run *run, uint64_t fiber, size_t memory);

/* Its fiber is gone; `returned` is 0 if it was abandoned. [interpreter thread; no; no] */
void ssphp_run_end(ssphp_run *run, int returned);

/* What a fiber starts in; `run` is a ssphp_run. [fiber; may suspend; no] */
void ssphp_entry(void *run);

/* Before `run`'s fiber gets the thread. [interpreter thread; no; no] */
void ssphp_enter(ssphp_run *run);

/* The run's fiber is soon to have the thread: asks for its context to be in the cache, and later for the `rest`, of which the context
   tells. [interpreter thread; no; no] */
void ssphp_expect(const ssphp_run *run, int rest);

/* After a fiber gave the thread up. [interpreter thread; no; no] */
void ssphp_leave(ssphp *home);

/* Makes running PHP code call ss_poll() soon. [signal handler on the interpreter thread; no; no] */
void ssphp_interrupt(void);

/*
 * Writes the stack of the script that runs, a line each, innermost first, "page.php:14: in show()", terminated. PHP's structures
 * may be in any state. [interpreter thread, also in a signal handler; no; no]
 */
void ssphp_where(char *text, size_t size);

/*
 * The same of a suspended fiber's run, or only the place of its innermost frame, "page.php:14". Returns the bytes written; 0: not
 * known. Reads only. [interpreter thread; no; no]
 */
size_t ssphp_stack(const ssphp_run *run, int whole, char *text, size_t size);

/* The fiber to cancel since the interpreter's memory was used up; 0: none. Told once. [interpreter thread; no; no] */
uint64_t ssphp_over_memory(ssphp *home);

/* The number of the restart that opcache waits for, of all that there ever were; 0: for none. [any thread; no; no] */
uint32_t ssphp_opcache_wants(void);

/* Bytes that the contexts' heaps hold. [interpreter thread; no; no] */
size_t ssphp_memory_used(const ssphp *home);

#endif
