/*
 * connect, accept, accept4. The kernel has no flag for "this one call must not block", so each has its own way.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

#include "hooks.h"
#include "signals.h"

/*
 * Begins to connect. O_NONBLOCK is set for the length of this one system call, which returns at once, and with guests'
 * signals deferred, so that no handler sees it or jumps away. Others who share the open file and use it in these
 * microseconds would see it: there is little that they can do with a socket that is not connected.
 * [fiber; no; no]
 */
static int begin(int fd, const struct sockaddr *address, socklen_t size) {
  ss_thread *thread = &ss_thread_state;
  ss_enter_host(thread);
  int flags = fcntl(fd, F_GETFL);
  int result = -1;
  if (flags >= 0) {
    int set = !(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
    result = SS_NEXT(connect)(fd, address, size);
    int error = errno;
    if (set) fcntl(fd, F_SETFL, flags);
    errno = error;
  }
  int error = errno;
  ss_leave_host(thread);
  errno = error;
  return result;
}

/* [fiber; may suspend; no] */
static int connect_waiting(int fd, const struct sockaddr *address, socklen_t size) {
  ss_wait wait = {0, 0};
  for (;;) {
    int result = begin(fd, address, size);
    /* A local server whose queue is full: there is nothing to poll for. */
    int full = result < 0 && errno == EAGAIN && address->sa_family == AF_UNIX;
    if (result == 0 || (errno != EINPROGRESS && errno != EALREADY && !full)) return result;
    int error = full ? EAGAIN : EINPROGRESS;
    if (!wait.deadline) wait.deadline = ss_hooks_socket_deadline(fd, SO_SNDTIMEO);
    int outcome = full ? ss_hooks_back_off(&wait) : ss_hooks_wait_one(&wait, fd, POLLOUT);
    if (outcome == SS_WAIT_PASS) return SS_WAIT_PASS;
    if (outcome == SS_WAIT_OVER) errno = error;
    if (outcome != SS_WAIT_READY) return -1;
    /* Once more: it tells how it went, and the kernel takes note that the caller knows. */
  }
}

/* [any thread; guests may suspend; no] */
int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t size) {
  if (address.__sockaddr__ && ss_hooks_guest() && !ss_hooks_nonblocking(fd)) {
    int before = errno;
    int result = connect_waiting(fd, address.__sockaddr__, size);
    if (result == 0) errno = before;
    if (result != SS_WAIT_PASS) return result;
  }
  return SS_NEXT(connect)(fd, address, size);
}

/*
 * Between "a connection is there" and taking it, another interpreter's fiber must not take it: this call would block its
 * thread. Another process, or a thread without hooks, still can. No call is made under the lock that waits.
 */
static pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER;

/* -1 with EAGAIN: nobody there yet. [fiber; no; no] */
static int take(int fd, struct sockaddr *address, socklen_t *size, int flags) {
  ss_thread *thread = &ss_thread_state;
  ss_enter_host(thread);
  pthread_mutex_lock(&taking);
  struct pollfd ready = {fd, POLLIN, 0};
  int result = -1;
  if (SS_NEXT(poll)(&ready, 1, 0) == 0)
    errno = EAGAIN;
  else
    result = SS_NEXT(accept4)(fd, address, size, flags);
  int error = errno;
  pthread_mutex_unlock(&taking);
  ss_leave_host(thread);
  errno = error;
  return result;
}

static int listens(int fd) {
  int yes = 0;
  socklen_t size = sizeof yes;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &size) == 0 && yes;
}

/* [any thread; guests may suspend; no] */
int accept4(int fd, __SOCKADDR_ARG address, socklen_t *restrict size, int flags) {
  if (!ss_hooks_guest() || ss_hooks_nonblocking(fd)) return SS_NEXT(accept4)(fd, address, size, flags);
  int before = errno;
  ss_wait wait = {0, 0};
  for (;;) {
    int result = take(fd, address.__sockaddr__, size, flags);
    if (result >= 0) errno = before;
    if (result >= 0 || errno != EAGAIN) return result;
    if (!wait.deadline) {
      if (!listens(fd)) break; /* the error is the kernel's to tell */
      wait.deadline = ss_hooks_socket_deadline(fd, SO_RCVTIMEO);
    }
    int outcome = ss_hooks_wait_one(&wait, fd, POLLIN);
    if (outcome == SS_WAIT_PASS) break;
    if (outcome == SS_WAIT_OVER) errno = EAGAIN;
    if (outcome != SS_WAIT_READY) return -1;
  }
  errno = before;
  return SS_NEXT(accept4)(fd, address, size, flags);
}

/* [any thread; guests may suspend; no] */
int accept(int fd, __SOCKADDR_ARG address, socklen_t *restrict size) {
  if (!ss_hooks_guest()) return SS_NEXT(accept)(fd, address, size);
  return accept4(fd, address, size, 0);
}
