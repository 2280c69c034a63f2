/*
 * waitpid for one child: its descriptor (pidfd) becomes readable when it ends. pclose waits for one too, inside the C library:
 * on the thread pool.
 */
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

typedef struct closing {
  ss_work work;
  FILE *file;
  int status, error;
} closing;

/* [any thread; no; no] */
static void close_pipe(ss_work *work) {
  closing *c = (closing *)work;
  c->status = SS_NEXT(pclose)(c->file);
  c->error = errno;
}

/* [any thread; guests may suspend; no] */
int pclose(FILE *file) {
  closing *c = ss_hooks_guest() ? ss_work_new(sizeof *c, close_pipe, NULL) : NULL;
  if (!c) return SS_NEXT(pclose)(file);
  c->file = file;
  c->work.owed = 1; /* nobody else ever closes it, or waits for its process */
  int before = errno, status = -1;
  if (ss_hooks_work(&c->work)) {
    status = c->status;
    errno = status == -1 ? c->error : before;
  }
  ss_work_end(&c->work);
  return status;
}
