/*
 * The crossings: every symbol that a guest's shim may call on the host. They are defined in src/crossing.
 *
 * Each is tagged [thread; may suspend?; may raise?]. None of them ever raises: a status tells what happened and the
 * shim raises its own error, with no Rust frame live. "Fiber" means: on an interpreter thread, while a fiber is current,
 * from any C stack.
 */
#ifndef SIDESTACK_CROSSING_H
#define SIDESTACK_CROSSING_H

#include "thread.h"
#include "value.h"

enum ss_status {
  SS_OK = 0,         /* values: the results */
  SS_ERROR = 1,      /* values: an error, see below; raise it as an ordinary guest error */
  SS_CALL_GUEST = 2, /* call `function` with `values`, protected, then ss_host_answer() */
  SS_KILL = 3,       /* unwind everything; the guest must not catch it */
};

/*
 * An error is four values, in both directions: code (STRING or NIL), message (STRING), traceback (STRING or NIL) and the
 * id by which the host finds its original error again (INT, 0: none).
 */
enum { SS_ERROR_VALUES = 4 };

/*
 * One host call as its shim frame sees it. The struct lives in that frame, made ready by ss_call_begin(); its address is the frame's identity: when a frame
 * further out on the same stack makes or answers a call, records of frames further in are ended (they were longjmped
 * past).
 */
#define SS_FEW 2 /* entries that fit into the frame */

typedef struct ss_call {
  uint64_t id;            /* the host's key of this call's record; 0: it has none */
  const ss_value *values; /* results, an error, or the guest call's arguments; valid until ss_host_end() */
  uint32_t count;         /* number of top-level values in `values` */
  uint32_t flags;         /* host's */
  uint64_t function;      /* SS_CALL_GUEST: slot of the function to call */
  void *reply;            /* host's: owner of `values`; NULL: they lie in `few`, or there are none */
  ss_value few[SS_FEW];   /* host's: a short run of plain numbers, which needs no ss_host_end() */
} ss_call;

/* The host fills in the rest. [any; no; no] */
static inline void ss_call_begin(ss_call *call) {
  call->id = 0;
  call->reply = 0;
}

/*
 * Calls host function `function`. The host may set SS_CLAIMED on function and reference entries of `args`; the shim
 * releases the others when the call is over. Whatever the status, except SS_CALL_GUEST, ss_host_end() follows once
 * `values` have been copied. The status is as wide as a crossing's, so that suspending is the last thing that is done here
 * (way_in.h).
 * [fiber; may suspend; does not raise]
 */
int64_t ss_host_call(uint32_t function, ss_value *args, uint32_t nargs, ss_call *call);

/*
 * Answers SS_CALL_GUEST with the guest function's results (SS_OK), its error (SS_ERROR) or SS_KILL; then waits on.
 * Returns like ss_host_call.
 * [fiber; may suspend; does not raise]
 */
int64_t ss_host_answer(ss_call *call, int status, ss_value *values, uint32_t count);

/* As ss_host_end(), where there is something to give back. [fiber; does not suspend; does not raise] */
void ss_host_give_back(ss_call *call);

/* Gives the call's values back to the host. [fiber; does not suspend; does not raise] */
static inline void ss_host_end(ss_call *call) {
  if (call->reply) ss_host_give_back(call);
}

/* Where guest code looks up (bits). */
enum ss_poll_how {
  SS_POLL_FINALIZER = 1, /* in a finalizer: neither suspend nor return SS_ERROR; a time slice's end is forgotten */
  SS_POLL_NO_SLICE = 2,  /* not between two instructions: do not suspend; a slice's end stays to be seen by the next poll */
};

/*
 * Running guest code looks up: `ss_thread_state.interrupt` was not 0. SS_OK: go on (perhaps after others had their turn).
 * SS_ERROR: raise `call->values` as an ordinary error, then ss_host_end(). SS_KILL: unwind. `how`: ss_poll_how bits.
 * [fiber; may suspend unless `how` is not 0; does not raise]
 */
int ss_poll(ss_call *call, int how);

/* A guest's reference to a host object is gone. Stale keys are ignored. [interpreter thread; no; no] */
void ss_object_release(uint64_t key);

/*
 * The id of a host function, by its module's or class's name and its own: "app.nap" (terminated). -1: there is none. Look it up once.
 * [fiber; no; no]
 */
int64_t ss_function_id(const char *name);

/* What a fiber's entry calls last: the outcome of the whole run (SS_OK with results, SS_ERROR with an error, SS_KILL). [fiber; no; no] */
void ss_return(int status, ss_value *values, uint32_t count);

/* ---- what a guest is told of the host's functions, once, when it starts; all of it outlives the interpreter ---- */

enum ss_function_flags {
  SS_BY_REFERENCE = 1, /* tables, closures, coroutines and foreign userdata cross as SS_REFERENCE/SS_FUNCTION, uncopied */
};

typedef struct ss_function_desc {
  const char *name; /* terminated */
  uint32_t id;      /* for ss_host_call */
  uint32_t flags;   /* ss_function_flags */
} ss_function_desc;

typedef struct ss_module_desc {
  const char *name;
  const ss_function_desc *functions;
  uint32_t nfunctions;
} ss_module_desc;

/* A class of host objects; its index in ss_host_desc.classes is the `len` of an SS_OBJECT. The object is the first argument. */
typedef struct ss_class_desc {
  const char *name;
  const ss_function_desc *methods;
  uint32_t nmethods;
  const ss_function_desc *getters;
  uint32_t ngetters;
} ss_class_desc;

#define SS_NO_LEAF (-1) /* the ordinary call is to be made */

/* A host function that can run on the fiber's stack: call it by leaf.h. `run` is NULL for all others. */
typedef struct ss_leaf {
  int (*run)(const void *data, const ss_value *args, uint32_t nargs, ss_value *result);
  const void *data;
} ss_leaf;

typedef struct ss_host_desc {
  const ss_module_desc *modules;
  uint32_t nmodules;
  const ss_class_desc *classes;
  uint32_t nclasses;
  const ss_leaf *leaves; /* of all functions, by id */
  uint32_t nleaves;
} ss_host_desc;

#endif
