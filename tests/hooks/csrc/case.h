/* What the cases share: each is a guest function that returns 0 or more as an INT, or fails with the line that failed. */
#ifndef CASE_H
#define CASE_H

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "native.h"

/* Counted up by a fiber that sleeps a millisecond again and again: it stands still while the thread is blocked. */
extern volatile unsigned long ticks;

/* SS_ERROR with the line, what was expected, and errno. [fiber; no; no] */
int case_fail(ss_value *result, const char *file, int line, const char *what);

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) return case_fail(result, __FILE__, __LINE__, #condition);                                        \
  } while (0)

/* A call that must fail with this errno. */
#define FAILS(call, error)                                                                                             \
  do {                                                                                                                 \
    errno = 0;                                                                                                         \
    long long failed = (long long)(call);                                                                                 \
    if (failed != -1 || errno != (error)) return case_fail(result, __FILE__, __LINE__, #call " is " #error);              \
  } while (0)

/* Others ran meanwhile: on a busy machine, where a wait of some milliseconds is over before anybody has a turn, once. */
#define WAITED(statement)                                                                                              \
  do {                                                                                                                 \
    unsigned long before = ticks;                                                                                      \
    statement;                                                                                                         \
    CHECK(ticks - before >= 1);                                                                                        \
  } while (0)

/* Nothing waited. On a busy machine a slice may have ended all the same. */
#define DID_NOT_WAIT(before) CHECK(ticks - (before) <= 3)

/* Leaves an INT. */
static inline int case_done(ss_value *result, int64_t value) {
  result->tag = SS_INT;
  result->as.integer = value;
  return SS_OK;
}

/* Milliseconds of CLOCK_MONOTONIC. */
static inline int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#define ARGS(wanted)                                                                                                   \
  (void)args;                                                                                                          \
  CHECK(nargs == (wanted))

/* A thread without fibers that does one thing to a descriptor, after 40 ms and when the ticker has run five times, or a
   second has passed; join it. */
typedef struct later {
  enum { LATER_WRITE, LATER_CLOSE, LATER_DRAIN, LATER_ACCEPT, LATER_CONNECT } what;
  int fd;
  size_t size; /* bytes to write, one by one 10 ms apart if negative steps are set; or to drain */
  int steps;   /* write in so many pieces, 20 ms apart; 0: one */
  void *address;
  socklen_t address_size;
  pthread_t thread;
  int64_t done; /* bytes, or the new descriptor */
  int wrong;    /* bytes that were not what they should be */
} later;

void later_start(later *l);
void later_join(later *l);

/* The byte at a place of every test's data. */
static inline unsigned char pattern(size_t place) { return (unsigned char)(place * 31 + place / 251); }

#endif
