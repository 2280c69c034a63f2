/* flock: the kernel tells nobody when such a lock is free, so it is asked again, after a millisecond first, then more. */
#include <errno.h>
#include <sys/file.h>

#include "hooks.h"

/* [any thread; guests may suspend; no] */
int flock(int fd, int operation) {
  if ((operation & (LOCK_NB | LOCK_UN)) || !ss_hooks_guest()) return SS_NEXT(flock)(fd, operation);
  int before = errno;
  ss_wait wait = {SS_NO_DEADLINE, 0};
  while (SS_NEXT(flock)(fd, operation | LOCK_NB)) {
    if (errno != EWOULDBLOCK) return -1;
    int outcome = ss_hooks_back_off(&wait);
    if (outcome == SS_WAIT_PASS) return SS_PASS(SS_NEXT(flock)(fd, operation));
    if (outcome == SS_WAIT_FAILED) return -1;
  }
  errno = before;
  return 0;
}
