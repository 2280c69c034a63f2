/*
 * flock: tried again and again, since the kernel gives no way to wait for it. Without this, two fibers of one thread that want
 * the same file (PHP's sessions) would be one thread that waits for itself.
 */
#include <errno.h>

#include "hooks.h"

/* [any thread; guests may suspend; no] */
int flock(int fd, int operation) {
  if ((operation & LOCK_NB) || !ss_hooks_guest()) return SS_NEXT(flock)(fd, operation);
  int before = errno;
  ss_wait wait = {SS_NO_DEADLINE, 0};
  for (;;) {
    if (SS_NEXT(flock)(fd, operation | LOCK_NB) == 0) {
      errno = before;
      return 0;
    }
    if (errno != EWOULDBLOCK) return -1;
    int outcome = ss_hooks_back_off(&wait);
    if (outcome == SS_WAIT_FAILED) return -1;
    if (outcome == SS_WAIT_PASS) return SS_PASS(SS_NEXT(flock)(fd, operation));
  }
}
