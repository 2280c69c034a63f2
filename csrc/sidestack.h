/*
 * Sidestack's C API: what C code that runs on fibers may ask of the host, and what a C program asks of the library.
 *
 * A fiber is a call of a C function on a stack of its own. Where it waits, only it waits: its thread goes on with
 * others.
 *
 * Every function is tagged [thread; may suspend?; may raise?]. "Fiber" means: on an interpreter thread, while a fiber
 * is current, from any stack, also one that C code made and entered itself. "Attached" means: also on a thread that
 * called sidestack_attach(), which blocks where a fiber suspends. Nothing here ever raises, jumps or throws: a status
 * tells what happened, and sidestack_error_code() and sidestack_error_message() tell it in words.
 *
 * In a signal handler on an interpreter thread everything that calls the host is refused as "in_signal_handler". That
 * is found out by the thread's alternate stack, on which handlers run that a fiber's code installs; with the C
 * library (libsidestack) only those installed with SA_ONSTACK do.
 *
 * C99 and C++17; needs no other header of Sidestack's.
 */
#ifndef SIDESTACK_H
#define SIDESTACK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SIDESTACK_VERSION "0.1.0"

/* The version that is linked. [any thread; no; no] */
const char *sidestack_version(void);

/* ---- outcomes ---- */

enum sidestack_status {
  SIDESTACK_OK = 0,
  SIDESTACK_ERROR = 1,       /* a host function, or a C function, failed */
  SIDESTACK_CANCELLED = 2,   /* this fiber is to end: from the call that waited, and from each later one that would wait */
  SIDESTACK_REFUSED = 3,     /* it cannot be done here; the error's code names why */
  SIDESTACK_STALE = 4,       /* the handle or callback has been released */
  SIDESTACK_FORGED = 5,      /* no such handle was ever given out */
  SIDESTACK_WRONG_KIND = 6,  /* the handle is of another kind */
  SIDESTACK_WRONG_OWNER = 7, /* the handle belongs to another interpreter */
  SIDESTACK_NOT_FOUND = 8,   /* there is no function of this name */
  SIDESTACK_NO_MEMORY = 9
};

/*
 * The last error of the running fiber, or of the thread where none runs: its code (a word that a program can match
 * on; "" if it has none) and its message. Terminated; valid until the next call that fails there. What failed last
 * stays, also while other calls succeed.
 * [any thread; no; no]
 */
const char *sidestack_error_code(void);
const char *sidestack_error_message(void);

/* Sets the last error, for a function of yours to fail with; returns SIDESTACK_ERROR. [any thread; no; no] */
int sidestack_fail(const char *code, const char *message);

/* ---- values ---- */

/*
 * A run of values is in pre-order. A scalar takes one entry. A list is its head (`len`: number of items) and then the
 * items; a map is its head (`len`: number of pairs) and then key, value, key, value. Strings are pointer and length,
 * and stay the property of whoever made the run.
 */
enum sidestack_tag {
  SIDESTACK_NIL = 0,       /* absence */
  SIDESTACK_NULL = 1,      /* an explicit null: JSON's null, a hole in a list */
  SIDESTACK_BOOL = 2,      /* as.integer is 0 or 1 */
  SIDESTACK_INT = 3,       /* as.integer */
  SIDESTACK_FLOAT = 4,     /* as.number */
  SIDESTACK_STRING = 5,    /* as.bytes, len: text; Lua strings always have this tag, whatever their bytes */
  SIDESTACK_BYTES = 6,     /* as.bytes, len: bytes that are not text, where the guest can tell them apart */
  SIDESTACK_LIST = 7,      /* len items follow */
  SIDESTACK_MAP = 8,       /* len pairs follow */
  SIDESTACK_FUNCTION = 9,  /* as.key: a guest function: see sidestack_callback() */
  SIDESTACK_REFERENCE = 10,/* as.key: any other guest value passed by reference */
  SIDESTACK_OBJECT = 11    /* as.key: handle of a host object; len: its class */
};

union sidestack_payload {
  int64_t integer;
  double number;
  const char *bytes;
  uint64_t key;
};

typedef struct sidestack_value {
  uint32_t tag; /* enum sidestack_tag; the highest bit is the library's: read it by sidestack_tag_of() */
  uint32_t len;
  union sidestack_payload as;
} sidestack_value;

static inline sidestack_value sidestack_nil(void) {
  sidestack_value value;
  value.tag = SIDESTACK_NIL;
  value.len = 0;
  value.as.integer = 0;
  return value;
}

static inline sidestack_value sidestack_int(int64_t integer) {
  sidestack_value value = sidestack_nil();
  value.tag = SIDESTACK_INT;
  value.as.integer = integer;
  return value;
}

static inline sidestack_value sidestack_bool(int truth) {
  sidestack_value value = sidestack_int(truth != 0);
  value.tag = SIDESTACK_BOOL;
  return value;
}

static inline sidestack_value sidestack_float(double number) {
  sidestack_value value = sidestack_nil();
  value.tag = SIDESTACK_FLOAT;
  value.as.number = number;
  return value;
}

/* Text of `len` bytes, which are not copied. At most UINT32_MAX: what is longer is cut off. */
static inline sidestack_value sidestack_text(const char *text, size_t len) {
  sidestack_value value = sidestack_nil();
  value.tag = SIDESTACK_STRING;
  value.len = len > UINT32_MAX ? UINT32_MAX : (uint32_t)len;
  value.as.bytes = text;
  return value;
}

/* Terminated text, not copied. */
static inline sidestack_value sidestack_string(const char *text) { return sidestack_text(text, strlen(text)); }

/* Bytes, not copied. */
static inline sidestack_value sidestack_bytes(const void *bytes, size_t len) {
  sidestack_value value = sidestack_text((const char *)bytes, len);
  value.tag = SIDESTACK_BYTES;
  return value;
}

/* The head of a list; the items follow it in the run. */
static inline sidestack_value sidestack_list(uint32_t items) {
  sidestack_value value = sidestack_nil();
  value.tag = SIDESTACK_LIST;
  value.len = items;
  return value;
}

/* The head of a map; key, value, key, value follow it in the run. */
static inline sidestack_value sidestack_map(uint32_t pairs) {
  sidestack_value value = sidestack_list(pairs);
  value.tag = SIDESTACK_MAP;
  return value;
}

static inline uint32_t sidestack_tag_of(const sidestack_value *value) { return value->tag & UINT32_C(0x7fffffff); }

/* The integer, or `otherwise` if the value is none. */
static inline int64_t sidestack_int_or(const sidestack_value *value, int64_t otherwise) {
  uint32_t tag = sidestack_tag_of(value);
  return tag == SIDESTACK_INT || tag == SIDESTACK_BOOL ? value->as.integer : otherwise;
}

/* The number, integers included, or `otherwise`. */
static inline double sidestack_float_or(const sidestack_value *value, double otherwise) {
  if (sidestack_tag_of(value) == SIDESTACK_FLOAT) return value->as.number;
  return sidestack_tag_of(value) == SIDESTACK_INT ? (double)value->as.integer : otherwise;
}

/*
 * The text or bytes, and their length; NULL and 0 if the value is neither. Arguments are not terminated, results are.
 */
static inline const char *sidestack_text_of(const sidestack_value *value, size_t *len) {
  uint32_t tag = sidestack_tag_of(value);
  int is_text = tag == SIDESTACK_STRING || tag == SIDESTACK_BYTES;
  if (len) *len = is_text ? value->len : 0;
  return is_text ? value->as.bytes : NULL;
}

/* The entry behind a value and all that is in it: the next value of a run. */
static inline const sidestack_value *sidestack_next(const sidestack_value *value) {
  uint64_t left = 1;
  while (left > 0) {
    uint32_t tag = sidestack_tag_of(value);
    left += tag == SIDESTACK_LIST ? value->len : tag == SIDESTACK_MAP ? 2 * (uint64_t)value->len : 0;
    left--;
    value++;
  }
  return value;
}

/*
 * Results: of a call that you make, or of a function of yours. Begin with sidestack_results_init(), and end with
 * sidestack_results_free() whatever the status. `values` may point into the struct itself: do not copy or move it.
 * Objects that a host call returned are released with them: see sidestack_keep().
 */
typedef struct sidestack_results {
  const sidestack_value *values; /* a run; its strings are terminated */
  uint32_t count;                /* of values that are not inside another */
  uint32_t owned;                /* the library's */
  void *memory;                  /* the library's */
  sidestack_value one;           /* the library's */
} sidestack_results;

/*
 * Takes over an object among a host call's results, or among a function's arguments, for longer than these last; the
 * value's as.key is its handle, for sidestack_handle_release(). [any thread; no; no]
 */
static inline void sidestack_keep(const sidestack_value *object) {
  ((sidestack_value *)object)->tag |= UINT32_C(0x80000000);
}

static inline void sidestack_results_init(sidestack_results *results) { memset(results, 0, sizeof *results); }

/* Makes a copy of a run the results; what they were is freed. SIDESTACK_OK or _NO_MEMORY. [any thread; no; no] */
int sidestack_results_set(sidestack_results *results, const sidestack_value *run, uint32_t count);

/* Frees what results hold, and empties them. [any thread; no; no] */
void sidestack_results_free(sidestack_results *results);

/* One result, copied: `return sidestack_return(results, sidestack_int(7));` */
static inline int sidestack_return(sidestack_results *results, sidestack_value value) {
  return sidestack_results_set(results, &value, 1);
}

/* ---- functions of yours ---- */

/*
 * A C function that runs on a fiber: an engine's, a callback, a spawned one. Its arguments are valid until it
 * returns. It leaves its results with sidestack_return() or sidestack_results_set() and returns SIDESTACK_OK; or
 * fails with any other status, which makes the last error the caller's: `return sidestack_fail(code, message);`, or
 * what a call of yours returned. A C++ exception that leaves it is its failure too, with the code "cpp_exception". A
 * loop that never calls the host cannot be stopped by a deadline or a cancel: call sidestack_poll() in it.
 * [fiber; may suspend; does not raise]
 */
typedef int (*sidestack_function)(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results);

/* ---- calling the host ---- */

/*
 * The id of a host function, by its module's or class's name and its own: "app.nap". Look it up once an engine: ids
 * of one mean nothing in another. SIDESTACK_OK, _NOT_FOUND or _REFUSED.
 * [fiber, attached; no; no]
 */
int sidestack_function_id(const char *name, uint32_t *id);

/*
 * Calls a host function and waits until it is done. `results` may be NULL. The host may mark function values in
 * `args`; these may be used again all the same. Cancelled, a function that is ready at once still works. A longjmp
 * out of a callback past the host call that made it is allowed: it ends that host call at the next call from as far
 * out or further, at the latest when the fiber ends.
 * [fiber, attached; may suspend; no]
 */
int sidestack_call(uint32_t id, sidestack_value *args, uint32_t nargs, sidestack_results *results);

/* The same by name. [fiber, attached; may suspend; no] */
int sidestack_call_name(const char *name, sidestack_value *args, uint32_t nargs, sidestack_results *results);

/* ---- the fiber ---- */

/* Lets the others have a turn. SIDESTACK_OK, _CANCELLED or _REFUSED. [fiber; may suspend; no] */
int sidestack_yield(void);

/*
 * For loops: costs a call and a look, and lets others have a turn only if this one's is over. SIDESTACK_OK, or
 * _CANCELLED if the fiber is to end: its deadline passed, its caller gave up, the engine shuts down.
 * [any thread; may suspend; no]
 */
int sidestack_poll(void);

/* Waits: up to a tenth of a millisecond too long, or a whole one after waits of more than 60. [fiber, attached; may suspend; no] */
int sidestack_sleep(double seconds);

/* The running fiber's id, unique in the process; 0: none runs here. [any thread; no; no] */
uint64_t sidestack_fiber(void);

/*
 * The running fiber's stack: `base` is its highest address, `limit` its lowest usable one. On a stack that C made
 * itself, still the fiber's own. SIDESTACK_OK or _REFUSED.
 * [any thread; no; no]
 */
int sidestack_stack(uintptr_t *base, uintptr_t *limit);

/* ---- handles ---- */

/* Stands for something that belongs to one interpreter; 0 is never one. */
typedef uint64_t sidestack_handle;

/* A kind of C pointer. A constant of yours: its address is what tells kinds apart. */
typedef struct sidestack_kind {
  const char *name;
  /* When the handle is released, or its interpreter closes; may be NULL; neither waits nor throws. */
  void (*destroy)(void *pointer);
} sidestack_kind;

/*
 * Makes a handle that stands for `pointer`. SIDESTACK_OK, _NO_MEMORY (too many handles) or _REFUSED.
 * [fiber; no; no]
 */
int sidestack_handle_make(void *pointer, const sidestack_kind *kind, sidestack_handle *handle);

/*
 * The pointer. SIDESTACK_OK, _STALE, _FORGED, _WRONG_KIND, _WRONG_OWNER or _REFUSED; then `*pointer` is NULL.
 * [fiber; no; no]
 */
int sidestack_handle_use(sidestack_handle handle, const sidestack_kind *kind, void **pointer);

/* The kind; NULL for one that the host made (an object). As sidestack_handle_use(). [fiber; no; no] */
int sidestack_handle_kind(sidestack_handle handle, const sidestack_kind **kind);

/* Releases a handle, of yours or of the host's; the kind's destroy() runs before this returns. A second release is
   SIDESTACK_STALE. [fiber; as destroy(); no] */
int sidestack_handle_release(sidestack_handle handle);

/* ---- callbacks ---- */

/*
 * Makes a function value of a C function and its data. Given to a host function, the host may call it then and there,
 * on this fiber, or keep it and call it later and from any thread, as a new fiber. It lives until it is released:
 * called after that, the caller gets the error "released_callback". `destroy` may be NULL; it gets `data` at the
 * release, or when the interpreter closes; it neither waits nor throws. Only where the guest is C ("not_native"
 * elsewhere).
 * [fiber; no; no]
 */
int sidestack_callback(sidestack_function function, void *data, void (*destroy)(void *data), sidestack_value *callback);

/* Releases it. SIDESTACK_OK, _STALE, _FORGED, _WRONG_KIND, _WRONG_OWNER or _REFUSED. [fiber; as destroy(); no] */
int sidestack_callback_release(sidestack_value callback);

/* Calls it from C: its own status, or those of the release. [fiber; as the function; no] */
int sidestack_callback_call(sidestack_value callback, const sidestack_value *args, uint32_t nargs,
                            sidestack_results *results);

/* ---- fibers of one's own ---- */

/*
 * Starts a fiber on this interpreter that calls `function(data, no arguments)`. It may outlive the call that starts
 * it, but not that call's deadline. `destroy` may be NULL; it gets `data` once, after the fiber has ended or if it
 * never began, and neither waits nor throws. `task` may be NULL; else it is a handle, to be released.
 * [fiber; no; no]
 */
int sidestack_spawn(sidestack_function function, void *data, void (*destroy)(void *data), sidestack_handle *task);

/*
 * Waits for its end: its results, or its error as SIDESTACK_ERROR. Any number of fibers may.
 * [fiber; may suspend; no]
 */
int sidestack_join(sidestack_handle task, sidestack_results *results);

/* Cancels it, if it has not ended. Join it to wait for its end. [fiber; no; no] */
int sidestack_cancel(sidestack_handle task);

/* ---- other threads ---- */

/* The interpreter that a fiber runs on, for threads that C starts. */
typedef struct sidestack_host sidestack_host;

/* Where this fiber runs. Free it. SIDESTACK_OK or _REFUSED. [fiber; no; no] */
int sidestack_host_here(sidestack_host **host);

/* [any thread; no; no] */
void sidestack_host_free(sidestack_host *host);

/*
 * Lets the calling thread call host functions: each call runs as a fiber of that interpreter while the thread blocks.
 * Data passes both ways, callbacks to the host only; handles and objects stay on their interpreter
 * ("not_for_threads"). Attaching again replaces what the thread was attached to. A thread that ends is detached.
 * Refused on an interpreter thread. A fiber must not block its thread (pthread_join) on a thread that calls its
 * interpreter: neither would go on.
 * [any thread that is no interpreter's; no; no]
 */
int sidestack_attach(const sidestack_host *host);

/* SIDESTACK_OK, or _REFUSED if it is not attached. [any thread; no; no] */
int sidestack_detach(void);

/* ---- engines: only in the C library (libsidestack), for programs in C ---- */

/* Interpreters, each on a thread of its own. */
typedef struct sidestack_engine sidestack_engine;

/* A function that an engine can call. What it points to must outlive the engine. */
typedef struct sidestack_export {
  const char *name;
  sidestack_function function;
  void *data;
} sidestack_export;

/* 0 is the default in each field: `sidestack_options options = {0};` */
typedef struct sidestack_options {
  uint32_t threads;     /* interpreters; default: the processors */
  uint32_t fibers;      /* alive at once in each; default: 10,000 */
  uint64_t stack;       /* bytes of a fiber's stack; default: 256 KiB */
  uint64_t deadline_ms; /* of a call, waiting and queueing included; default: none */
} sidestack_options;

/* Starts an engine; `options` may be NULL. SIDESTACK_OK or _ERROR. [any thread; blocks; no] */
int sidestack_engine_new(const sidestack_options *options, const sidestack_export *functions, size_t nfunctions,
                         sidestack_engine **engine);

/*
 * Calls a function of the engine on a new fiber and blocks until it has ended. `deadline_ms` 0: the engine's. Data
 * only: functions and objects are refused. SIDESTACK_OK, _ERROR, _CANCELLED (also by a deadline) or _REFUSED (on an
 * interpreter thread).
 * [any thread but an interpreter's; blocks; no]
 */
int sidestack_engine_call(sidestack_engine *engine, const char *name, sidestack_value *args, uint32_t nargs,
                          uint64_t deadline_ms, sidestack_results *results);

/*
 * Ends an engine: what runs has `patience_ms` to end, then it is cancelled. SIDESTACK_OK, or _ERROR with the code
 * "stuck" if an interpreter did not end and was left behind. NULL is ignored.
 * [any thread but an interpreter's; blocks; no]
 */
int sidestack_engine_free(sidestack_engine *engine, uint64_t patience_ms);

#ifdef __cplusplus
}
#endif

#endif
