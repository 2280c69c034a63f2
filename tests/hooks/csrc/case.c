#include "case.h"

#include <stdlib.h>

volatile unsigned long ticks;
static volatile int ticker_stop;

int case_fail(ss_value *result, const char *file, int line, const char *what) {
  static __thread char message[300];
  int error = errno;
  snprintf(message, sizeof message, "%s:%d: %s (errno %d, %s)", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line,
           what, error, strerror(error));
  result->tag = SS_STRING;
  result->len = (uint32_t)strlen(message);
  result->as.bytes = message;
  return SS_ERROR;
}

int case_ticker(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  ticker_stop = 0;
  while (!ticker_stop && usleep(1000) == 0) ticks++;
  return case_done(result, (int64_t)ticks);
}

int case_ticker_stop(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  ticker_stop = 1;
  return case_done(result, 0);
}

unsigned long case_ticks(void) { return ticks; }

static void let_others_run(useconds_t least) {
  unsigned long before = ticks;
  usleep(least);
  /* A busy machine, or a thread that is blocked as it should be. */
  for (int i = 0; i < 96 && ticks - before < 5; i++) usleep(10000);
}

static void *later_run(void *data) {
  later *l = data;
  let_others_run(40000);
  switch (l->what) {
  case LATER_WRITE: {
    int steps = l->steps ? l->steps : 1;
    for (int i = 0; i < steps; i++) {
      if (i) let_others_run(20000);
      size_t from = l->size * (size_t)i / (size_t)steps, to = l->size * (size_t)(i + 1) / (size_t)steps;
      for (size_t at = from; at < to;) {
        unsigned char piece[4096];
        size_t n = to - at < sizeof piece ? to - at : sizeof piece;
        for (size_t k = 0; k < n; k++) piece[k] = pattern(at + k);
        ssize_t sent = write(l->fd, piece, n);
        if (sent < 0) return NULL;
        at += (size_t)sent;
        l->done += sent;
      }
    }
    break;
  }
  case LATER_CLOSE: close(l->fd); break;
  case LATER_DRAIN:
    while ((size_t)l->done < l->size) {
      unsigned char piece[4096];
      ssize_t got = read(l->fd, piece, sizeof piece);
      if (got <= 0) break;
      for (ssize_t k = 0; k < got; k++) l->wrong += piece[k] != pattern((size_t)(l->done + k));
      l->done += got;
    }
    break;
  case LATER_ACCEPT: l->done = accept(l->fd, NULL, NULL); break;
  case LATER_CONNECT: {
    int fd = socket(((struct sockaddr *)l->address)->sa_family, SOCK_STREAM, 0);
    if (connect(fd, l->address, l->address_size) == 0) l->done = fd;
    break;
  }
  }
  return NULL;
}

void later_start(later *l) {
  if (pthread_create(&l->thread, NULL, later_run, l)) abort();
}

void later_join(later *l) { pthread_join(l->thread, NULL); }
