/* waitpid for one child: its descriptor (pidfd) becomes readable when it ends. */
#include <errno.h>
#include <sys/syscall.h>

#include "hooks.h"

/* [any thread; guests may suspend; no] */
pid_t waitpid(pid_t child, int *status, int options) {
  if (child <= 0 || options || !ss_hooks_guest()) return SS_NEXT(waitpid)(child, status, options);
  int before = errno;
  ss_wait wait = {SS_NO_DEADLINE, 0};
  for (;;) {
    pid_t ended = SS_NEXT(waitpid)(child, status, WNOHANG);
    if (ended > 0) errno = before;
    if (ended != 0) return ended;
    int fd = (int)syscall(SYS_pidfd_open, child, 0);
    int outcome = fd < 0 ? SS_WAIT_PASS : ss_hooks_wait_one(&wait, fd, POLLIN);
    int error = errno;
    if (fd >= 0) SS_NEXT(close)(fd);
    errno = error;
    if (outcome == SS_WAIT_FAILED) return -1;
    if (outcome == SS_WAIT_PASS) return SS_PASS(SS_NEXT(waitpid)(child, status, options));
  }
}
