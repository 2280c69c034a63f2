/*
 * close, dup2, dup3: a descriptor that guest code closes while fibers wait for it. They go on at once: read() and the like with
 * EBADF, poll() with POLLNVAL. Without this they would wait for what epoll has forgotten.
 */
#include <fcntl.h>

#include "hooks.h"

/* [fiber; no; no] */
static void closing(int fd) {
  if (fd < 0 || !__atomic_load_n(&ss_hooks_waits, __ATOMIC_RELAXED)) return;
  int64_t function = ss_hooks_function(SS_HOOKS_CLOSING);
  if (function < 0) return;
  ss_value arg = {SS_INT, 0, {.integer = fd}};
  ss_call call = {0};
  ss_host_call((uint32_t)function, &arg, 1, &call);
  ss_host_end(&call);
}

/* [any thread; no; no] */
int close(int fd) {
  if (ss_hooks_guest()) closing(fd);
  return SS_NEXT(close)(fd);
}

/* Whether a dup onto another one will close that one. [fiber; no; no] */
static int closes(int from, int to) { return from != to && fcntl(from, F_GETFD) >= 0; }

/* [any thread; no; no] */
int dup2(int from, int to) {
  if (ss_hooks_guest() && closes(from, to)) closing(to);
  return SS_NEXT(dup2)(from, to);
}

/* [any thread; no; no] */
int dup3(int from, int to, int flags) {
  if (ss_hooks_guest() && closes(from, to)) closing(to);
  return SS_NEXT(dup3)(from, to, flags);
}
