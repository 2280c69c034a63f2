/*
 * Functions that a Rust program exports through Sidestack. Generated: sidestack::export::header().
 *
 * Where a function fails, sidestack_error_code() and sidestack_error_message() tell why, until the next failure on
 * that fiber or thread. Pointers are used during the call only. Names in brackets:
 *   thread/fiber     the function runs on its interpreter thread's own stack, or as a leaf on the caller's
 *   may suspend      it may wait, and then only the calling fiber does
 *   foreign          what happens on a thread that is no interpreter thread: reject (it fails), owner (a fiber of
 *                    the owning engine runs it, the thread waits), attach (it runs there, and waits there), any (a leaf)
 */
#ifndef SIDESTACK_EXPORTS_H
#define SIDESTACK_EXPORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The last failure's code, a word to compare with; never NULL. [any thread; does not suspend; does not raise] */
const char *sidestack_error_code(void);

/* Its message, for people; never NULL. [any thread; does not suspend; does not raise] */
const char *sidestack_error_message(void);

struct point;

/*
 * [thread; does not suspend; does not raise; returns 0 if it is cancelled, refused or panics; foreign: reject]
 */
int32_t add(int32_t a, int32_t b);

/*
 * Calls a C function.
 * [thread; does not suspend; does not raise; returns 0 if it is cancelled, refused or panics; foreign: reject]
 */
int32_t apply(int32_t (*f)(int32_t), int32_t n);

/*
 * The same, after a while.
 * [thread; may suspend; does not raise; returns -1 on an error; foreign: reject]
 */
int32_t apply_later(int32_t (*f)(void *), void *data);

/*
 * Waits at a gate; its value.
 * [thread; may suspend; does not raise; returns INT64_MIN on an error; foreign: reject]
 */
int64_t at_gate(int64_t gate);

/*
 * [thread; may suspend; does not raise; returns -1 on an error; foreign: attach]
 */
int32_t attached_add(int32_t a, int32_t b);

/*
 * [thread; does not suspend; does not raise; returns 0 if it is cancelled, refused or panics; never calls back; foreign: attach]
 */
int32_t attached_quietly(int32_t (*f)(int32_t), int32_t n);

/*
 * What C calls by another name, with parameters that are words of C's.
 * [thread; does not suspend; does not raise; returns 0 if it is cancelled, refused or panics; foreign: reject]
 */
int32_t c_word(int32_t int_, int32_t default_);

/*
 * [thread; may suspend; does not raise; returns -1 on an error; foreign: reject]
 */
int32_t call_kept(void);

/*
 * [thread; does not suspend; does not raise; returns -1 on an error; foreign: reject]
 */
int64_t counter_add(uint64_t counter, int64_t n);

/*
 * Holds it while it waits.
 * [thread; may suspend; does not raise; returns -1 on an error; foreign: reject]
 */
int64_t counter_add_later(uint64_t counter, int64_t gate);

/*
 * [thread; may suspend; does not raise; returns 0 on an error; foreign: reject]
 */
uint64_t counter_later(int64_t start);

/*
 * A counter, by handle.
 * [thread; does not suspend; does not raise; returns 0 if it is cancelled, refused or panics; foreign: reject]
 */
uint64_t counter_new(int64_t start);

/*
 * [thread; does not suspend; does not raise; returns 0 on success, -1 on an error; foreign: reject]
 */
int32_t divide(int32_t a, int32_t b, int32_t *out);

/*
 * Fetches a page over HTTP; its body is a number.
 * [thread; may suspend; does not raise; returns -1 on an error; foreign: reject]
 */
int32_t do_fetch(const char *url);

/*
 * [thread; does not suspend; does not raise; returns -3 on an error; foreign: reject]
 */
int32_t explode(bool now);

/*
 * [thread; may suspend; does not raise; returns 0 if it is cancelled, refused or panics; foreign: reject]
 */
int32_t explode_dropped(int64_t gate);

/*
 * [thread; may suspend; does not raise; returns 0 if it is cancelled, refused or panics; foreign: reject]
 */
int32_t explode_later(int64_t gate);

/*
 * [thread; does not suspend; does not raise; tells nothing of an error; foreign: reject]
 */
void fill(uint8_t *bytes, size_t bytes_len, uint8_t value);

/*
 * [thread; does not suspend; does not raise; returns false if it is cancelled, refused or panics; foreign: reject]
 */
bool flip(bool bit);

/*
 * # Safety
 * [thread; does not suspend; does not raise; returns -1 on an error; foreign: reject]
 */
int32_t manhattan(const struct point *point);

/*
 * -2 for `NULL`; the function itself has no error.
 * [thread; does not suspend; does not raise; returns 0 if it is cancelled, refused or panics; foreign: reject]
 */
int64_t maybe_length(const char *text);

/*
 * A leaf.
 * [fiber; does not suspend; does not raise; cannot fail; foreign: any]
 */
uint32_t mix(uint32_t a, uint32_t b);

/*
 * [thread; does not suspend; does not raise; returns -1 on an error; foreign: reject]
 */
int32_t mute_error(void);

/*
 * Waits so many milliseconds.
 * [thread; may suspend; does not raise; returns 0 on success, -1 on an error; foreign: reject]
 */
int32_t nap(uint32_t ms);

/*
 * [thread; does not suspend; does not raise; returns NULL on an error; foreign: reject]
 */
void *no_memory(bool fail);

/*
 * [thread; does not suspend; does not raise; tells nothing of an error; foreign: reject]
 */
void nothing(void);

/*
 * [thread; does not suspend; does not raise; returns 0 if it is cancelled, refused or panics; foreign: reject]
 */
double numbers(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f, int64_t g, uint64_t h, ptrdiff_t i, size_t j, float k, double l);

/*
 * [thread; does not suspend; does not raise; returns 0 on an error; foreign: reject]
 */
uint64_t other_new(void);

/*
 * An asynchronous sum, for any thread.
 * [thread; may suspend; does not raise; returns -1 on an error; foreign: owner]
 */
int32_t owned_add(const char *text, int32_t a, int32_t b);

/*
 * [thread; may suspend; does not raise; returns -1 on an error; foreign: owner]
 */
int64_t owned_gate(int64_t gate);

/*
 * [thread; does not suspend; does not raise; returns 0 on success, -7 on an error; foreign: reject]
 */
int32_t parse(const char *text);

/*
 * [thread; does not suspend; does not raise; returns 0 if it is cancelled, refused or panics; never calls back; foreign: reject]
 */
int32_t quietly(int32_t (*f)(int32_t), int32_t n);

/*
 * [thread; may suspend; does not raise; returns -1 on an error; never calls back; foreign: reject]
 */
int32_t quietly_later(int32_t (*f)(int32_t), int32_t n);

/*
 * Is async, and ready at once.
 * [thread; may suspend; does not raise; returns 0 if it is cancelled, refused or panics; foreign: reject]
 */
int32_t ready_at_once(int32_t n);

/*
 * Writes through a pointer.
 * [thread; does not suspend; does not raise; returns NULL if it is cancelled, refused or panics; foreign: reject]
 */
const char *store(int32_t *place, int32_t value);

/*
 * [thread; may suspend; does not raise; returns INT64_MIN on an error; foreign: reject]
 */
int64_t sum(const int32_t *items, size_t items_len);

/*
 * [thread; does not suspend; does not raise; returns -1 on an error; foreign: reject]
 */
int64_t text_length(const char *text);

/*
 * Counts.
 * [thread; does not suspend; does not raise; returns 0 if it is cancelled, refused or panics; foreign: reject]
 */
int64_t tick(void);

/*
 * What the interpreter gives is no parameter of C's.
 * [thread; does not suspend; does not raise; returns 0 if it is cancelled, refused or panics; foreign: reject]
 */
int32_t with_state(int32_t n);

#ifdef __cplusplus
}
#endif

#endif
