/* flock: a fiber waits for a lock that another thread, or another fiber of this one, holds. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include "case.h"

/* Gives a lock back after 30 ms. */
static void *give_back(void *fd) {
  struct timespec pause = {0, 30000000};
  nanosleep(&pause, NULL);
  flock(*(int *)fd, LOCK_UN);
  return NULL;
}

int case_flock(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  char name[] = "/tmp/sidestack-flock-XXXXXX";
  int mine = mkstemp(name), other = open(name, O_RDWR);
  CHECK(mine >= 0 && other >= 0 && unlink(name) == 0);
  unsigned long before = ticks;
  CHECK(flock(other, LOCK_SH) == 0 && flock(mine, LOCK_SH) == 0 && flock(mine, LOCK_UN) == 0);
  CHECK(flock(other, LOCK_UN) == 0 && flock(other, LOCK_EX) == 0);
  FAILS(flock(mine, LOCK_EX | LOCK_NB), EWOULDBLOCK);
  FAILS(flock(-1, LOCK_EX), EBADF);
  DID_NOT_WAIT(before);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, give_back, &other) == 0);
  errno = 5;
  WAITED(CHECK(flock(mine, LOCK_EX) == 0));
  CHECK(errno == 5);
  CHECK(pthread_join(thread, NULL) == 0);
  FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
  close(mine), close(other);
  return case_done(result, 0);
}
