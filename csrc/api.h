/*
 * What the files of the C API (sidestack.h) share with each other, and their upcalls, which are defined in
 * src/crossing/api.rs and src/crossing/foreign.rs.
 */
#ifndef SIDESTACK_API_H
#define SIDESTACK_API_H

#include "crossing.h"

/*
 * Each public function that the C library exports has a second name, by which that library's own symbol of the first
 * name reaches it (capi/src/names.rs); here the first one gives way.
 */
#define SS_PUBLIC(name)                                         \
  extern __typeof__(sidestack_##name) sidestack_##name __attribute__((weak)); \
  extern __typeof__(sidestack_##name) ss_api_##name __attribute__((alias("sidestack_" #name)))

/* A callback, as its slot holds it. */
typedef struct ss_callback {
  sidestack_function function;
  void *data;
  void (*destroy)(void *);
  uint32_t hosts; /* 1: released when the host drops its last token, not by C */
} ss_callback;

/* What a handle stood for when it was taken out: a C pointer of a kind, or a callback. */
typedef struct ss_taken {
  void *pointer;
  void (*destroy)(void *); /* may be NULL */
} ss_taken;

/*
 * ---- upcalls: where a fiber is current; each a crossing (way_in.h), with these arguments ----
 *
 * handle_make    (pointer, kind, uint64_t *key) → status
 * handle_use     (key, kind, void **pointer) → status
 * handle_kind    (key, const sidestack_kind **kind) → status
 * handle_take    (key, callback?, ss_taken *taken) → status: takes it out; it is a callback, or none
 * handle_any     (uint32_t *from, ss_taken *taken) → takes out the next one that C made, from this slot on; 0: there is none left
 * callback_make  (const ss_callback *callback, uint64_t *key) → status
 * callback_find  (key, ss_callback *callback) → status
 * error_set      (const ss_value *error): the last error of the fiber, four values as in crossing.h
 * error_get      (ss_value *error): its strings are terminated
 * turn           (give way?) → SS_OK, SS_CROSS_AGAIN, or SS_KILL if the fiber is cancelled: then the error is set
 * is_cancel      (const ss_value *code) → whether an error of this code is the fiber's own cancel
 * host_here      (sidestack_host **host) → status
 */

/* ---- for threads where no fiber runs ---- */

void ss_foreign_host_free(sidestack_host *host);
/* SIDESTACK_REFUSED on an interpreter thread. */
int ss_foreign_attach(const sidestack_host *host);
int ss_foreign_detach(void);
/* The thread's last error, as error_set and error_get have a fiber's. */
void ss_foreign_error_set(const ss_value *error);
void ss_foreign_error_get(ss_value *error);
int ss_foreign_function_id(const char *name, uint32_t *id);
int ss_foreign_call(uint32_t id, sidestack_value *args, uint32_t nargs, sidestack_results *results);

/* Gives the thread away, unless the fiber is cancelled; then looks up. The result is sidestack_yield()'s. In
   src/crossing/api.rs. [fiber, its own stacks; may suspend; as a guest's handler may] */
int ss_cross_yield(ss_thread *thread, uintptr_t frame, uintptr_t returns_to);

/* Looks up: SIDESTACK_OK, or SIDESTACK_CANCELLED with the error set. [fiber; may suspend; no] */
int ss_api_look_up(void);

/* ---- shared by the files ---- */

/* Sets the last error and returns `status`. [any thread, not in a signal handler; no; no] */
int ss_api_error(int status, const char *code, const char *message);

/* Sets the last error from its four values. [any thread, not in a signal handler; no; no] */
void ss_api_error_set(const ss_value *error);

/* SIDESTACK_OK if this is a fiber's place, outside of signal handlers; or the refusal. [any thread; no; no] */
int ss_api_on_fiber(void);

/* The refusal in a signal handler, else SIDESTACK_OK. [any thread; no; no] */
int ss_api_outside_handlers(void);

/* SIDESTACK_OK on a fiber of an interpreter of C code; or the refusal. [any thread; no; no] */
int ss_api_on_native_fiber(void);

/* Calls a C function behind the barrier; the status is one of the public ones. [fiber; may suspend; no] */
int ss_api_run(sidestack_function function, void *data, const ss_value *args, uint32_t nargs, sidestack_results *results);

/* What a failed run tells the host: four values, from the last error. [fiber; no; no] */
void ss_api_error_values(int status, ss_value *error);

#endif
