/*
 * An output sink before the server interface's own: requests that write at the same time take turns, one write each. A request
 * that is alone, or whose others have ended, only gives way.
 */
#include <stdatomic.h>

#include "phpt.h"
#include "sidestack.h"

static size_t (*next_write)(const char *bytes, size_t length);
static int (*next_deactivate)(void);
static atomic_uint_fast64_t writes, changes, last;

/* The fibers that are to write together, and of these those that have begun to, and ended. One interpreter thread has them. */
enum { MOST = 8 };
static unsigned copies, begun, ended;
static uint64_t fibers[MOST];

/* A moment for others: a turn at first, then a millisecond. [fiber; may suspend; no] */
static int moment(int before) { return before < 100 ? sidestack_yield() : sidestack_sleep(0.001); }

/* Waits until all have begun and another one has written, but not for ever: the others may write nothing. [fiber; may suspend; no] */
static void wait_for_turn(uint64_t fiber) {
  unsigned known = 0;
  while (known < begun && fibers[known] != fiber) known++;
  if (known == begun && begun < copies) fibers[begun++] = fiber;
  for (int i = 0; i < 600 && begun < copies; i++)
    if (moment(i) != SIDESTACK_OK) return;
  for (int i = 0; i < 600 && ended + 1 < begun && atomic_load(&last) == fiber; i++)
    if (moment(i) != SIDESTACK_OK) return;
}

/* [fiber; may suspend; as the sink behind it] */
static size_t write_in_turn(const char *bytes, size_t length) {
  uint64_t fiber = sidestack_fiber();
  wait_for_turn(fiber);
  atomic_fetch_add(&writes, 1);
  uint64_t before = atomic_exchange(&last, fiber);
  if (before != 0 && before != fiber) atomic_fetch_add(&changes, 1);
  size_t written = next_write(bytes, length);
  sidestack_yield();
  return written;
}

/* A request's end. [fiber; may suspend; as what is behind it] */
static int deactivate(void) {
  uint64_t fiber = sidestack_fiber();
  for (unsigned i = 0; i < begun; i++)
    if (fibers[i] == fiber) ended++;
  return next_deactivate();
}

/* The interface's own functions, and the tests'. [any thread; no; no] */
static const zend_function_entry *all_functions(void) {
  static zend_function_entry all[64];
  size_t count = 0;
  for (const zend_function_entry *f = ssphp_sapi.additional_functions; f != NULL && f->fname != NULL; f++) all[count++] = *f;
  for (const zend_function_entry *f = phpt_functions; f->fname != NULL; f++) all[count++] = *f;
  return all;
}

void phpt_install(void) {
  next_write = ssphp_sapi.ub_write;
  next_deactivate = ssphp_sapi.deactivate;
  ssphp_sapi.ub_write = write_in_turn;
  ssphp_sapi.deactivate = deactivate;
  ssphp_sapi.additional_functions = all_functions();
}

void phpt_copies(unsigned count) { copies = count < MOST ? count : MOST; }

void phpt_turns(uint64_t out[2]) {
  out[0] = atomic_load(&writes);
  out[1] = atomic_load(&changes);
}
