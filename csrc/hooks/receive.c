/* read, readv, recv, recvfrom, recvmsg. */
#include <errno.h>
#include <limits.h>

#include "hooks.h"

/* One call's arguments, whichever it is. */
typedef struct receiving {
  enum { RECV, RECVFROM, RECVMSG } call;
  void *buffer;
  size_t size;
  int flags;
  struct sockaddr *from;
  socklen_t *from_len;
  struct msghdr *message;
} receiving;

/* The call itself, without blocking. [fiber; no; no] */
static ssize_t attempt(int fd, const receiving *r) {
  switch (r->call) {
  case RECV: return SS_NEXT(recv)(fd, r->buffer, r->size, r->flags | MSG_DONTWAIT);
  case RECVFROM: return SS_NEXT(recvfrom)(fd, r->buffer, r->size, r->flags | MSG_DONTWAIT, r->from, r->from_len);
  default: return SS_NEXT(recvmsg)(fd, r->message, r->flags | MSG_DONTWAIT);
  }
}

/* The same until the kernel has something to say. [fiber; may suspend; no] */
static ssize_t receive(int fd, const receiving *r, ss_wait *wait) {
  for (;;) {
    ssize_t got = attempt(fd, r);
    if (got >= 0 || errno != EAGAIN) return got;
    if (!wait->deadline) {
      if (ss_hooks_nonblocking(fd)) return -1;
      wait->deadline = ss_hooks_socket_deadline(fd, SO_RCVTIMEO);
    }
    int outcome = ss_hooks_wait_one(wait, fd, POLLIN);
    if (outcome == SS_WAIT_OVER) errno = EAGAIN;
    if (outcome == SS_WAIT_OVER || outcome == SS_WAIT_FAILED) return -1;
    if (outcome == SS_WAIT_PASS) return SS_WAIT_PASS;
  }
}

/* Whether bytes come without boundaries, so that MSG_WAITALL means something. [fiber; no; no] */
static int is_stream(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

/* MSG_WAITALL, after `got` bytes of `size`: the rest into the buffers behind them. [fiber; may suspend; no] */
static ssize_t receive_rest(int fd, const struct iovec *parts, size_t count, ssize_t got, int flags, ss_wait *wait) {
  ssize_t before = 0;
  for (size_t i = 0; i < count; i++) {
    ssize_t size = (ssize_t)parts[i].iov_len;
    while (got < before + size) {
      receiving rest = {RECV, (char *)parts[i].iov_base + (got - before), (size_t)(before + size - got), flags, 0, 0, 0};
      ssize_t more = receive(fd, &rest, wait);
      if (more <= 0) return got; /* the end, or an error: what came counts */
      got += more;
    }
    before += size;
  }
  return got;
}

/* MSG_WAITALL with MSG_PEEK: what is there stays there, so there is no readiness to wait for. [fiber; may suspend; no] */
static ssize_t peek_all(int fd, const receiving *r, ssize_t got, size_t size, ss_wait *wait) {
  while (got >= 0 && (size_t)got < size) {
    struct pollfd end = {fd, POLLRDHUP, 0};
    if (SS_NEXT(poll)(&end, 1, 0) != 0) break;
    if (ss_hooks_back_off(wait) != SS_WAIT_READY) break;
    ssize_t more = attempt(fd, r);
    if (more < 0) break;
    got = more;
  }
  return got;
}

/* Flags with which a call never blocks. */
enum { AT_ONCE = MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB };

/* [fiber; may suspend; no] */
static ssize_t receive_message(int fd, const receiving *r, const struct iovec *parts, size_t count) {
  int before = errno;
  ss_wait wait = {0, 0};
  ssize_t got = receive(fd, r, &wait);
  if (got > 0 && r->flags & MSG_WAITALL) {
    size_t size = 0;
    for (size_t i = 0; i < count; i++) size += parts[i].iov_len;
    if ((size_t)got < size && !ss_hooks_nonblocking(fd) && is_stream(fd)) {
      if (!wait.deadline) wait.deadline = ss_hooks_socket_deadline(fd, SO_RCVTIMEO);
      if (r->flags & MSG_PEEK)
        got = peek_all(fd, r, got, size, &wait);
      else
        got = receive_rest(fd, parts, count, got, r->flags & ~MSG_WAITALL, &wait);
    }
  }
  if (got >= 0) errno = before;
  return got;
}

/* [any thread; guests may suspend; no] */
ssize_t recv(int fd, void *buffer, size_t size, int flags) {
  if (ss_hooks_guest() && !(flags & AT_ONCE)) {
    receiving r = {RECV, buffer, size, flags, NULL, NULL, NULL};
    struct iovec part = {buffer, size};
    ssize_t got = receive_message(fd, &r, &part, 1);
    if (got != SS_WAIT_PASS) return got;
  }
  return SS_NEXT(recv)(fd, buffer, size, flags);
}

/* [any thread; guests may suspend; no] */
ssize_t recvfrom(int fd, void *restrict buffer, size_t size, int flags, __SOCKADDR_ARG from,
                 socklen_t *restrict from_len) {
  if (ss_hooks_guest() && !(flags & AT_ONCE)) {
    receiving r = {RECVFROM, buffer, size, flags, from.__sockaddr__, from_len, NULL};
    struct iovec part = {buffer, size};
    ssize_t got = receive_message(fd, &r, &part, 1);
    if (got != SS_WAIT_PASS) return got;
  }
  return SS_NEXT(recvfrom)(fd, buffer, size, flags, from, from_len);
}

/* [any thread; guests may suspend; no] */
ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
  if (ss_hooks_guest() && message && !(flags & AT_ONCE)) {
    receiving r = {RECVMSG, NULL, 0, flags, NULL, NULL, message};
    ssize_t got = receive_message(fd, &r, message->msg_iov, message->msg_iovlen);
    if (got != SS_WAIT_PASS) return got;
  }
  return SS_NEXT(recvmsg)(fd, message, flags);
}

/* ---- read and readv ---- */

/* From what is no socket, and blocks. [fiber; may suspend; no] */
static ssize_t read_other(int fd, const struct iovec *parts, int count) {
  enum ss_kind kind = ss_hooks_kind(fd);
  if (kind == SS_KIND_FILE || ss_hooks_nonblocking(fd)) return SS_NEXT(readv)(fd, parts, count);
  ss_wait wait = {SS_NO_DEADLINE, 0};
  for (;;) {
    if (kind == SS_KIND_PIPE) {
      ssize_t got = preadv2(fd, parts, count, -1, RWF_NOWAIT);
      if (got >= 0) return got;
      if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)
        kind = SS_KIND_POLL; /* an older kernel */
      else if (errno != EAGAIN)
        return -1;
    }
    if (kind == SS_KIND_POLL) {
      struct pollfd ready = {fd, POLLIN, 0};
      if (SS_NEXT(poll)(&ready, 1, 0) != 0) return SS_NEXT(readv)(fd, parts, count);
    }
    int outcome = ss_hooks_wait_one(&wait, fd, POLLIN);
    if (outcome == SS_WAIT_PASS) return SS_NEXT(readv)(fd, parts, count);
    if (outcome == SS_WAIT_FAILED) return -1;
  }
}

/* [any thread; guests may suspend; no] */
ssize_t read(int fd, void *buffer, size_t size) {
  if (!ss_hooks_guest() || size == 0) return SS_NEXT(read)(fd, buffer, size);
  int before = errno;
  receiving r = {RECV, buffer, size, 0, NULL, NULL, NULL};
  ss_wait wait = {0, 0};
  ssize_t got = receive(fd, &r, &wait);
  if (got == SS_WAIT_PASS) return SS_NEXT(read)(fd, buffer, size);
  if (got < 0 && errno == ENOTSOCK) {
    errno = before;
    /* The kernel's own cap on one read; an iovec past it would be an error. */
    struct iovec part = {buffer, size < SSIZE_MAX ? size : SSIZE_MAX};
    got = read_other(fd, &part, 1);
  }
  if (got >= 0) errno = before;
  return got;
}

/* [any thread; guests may suspend; no] */
ssize_t readv(int fd, const struct iovec *parts, int count) {
  size_t size = 0;
  if (count > 0 && count <= IOV_MAX)
    for (int i = 0; i < count; i++) size |= parts[i].iov_len;
  if (size == 0 || !ss_hooks_guest()) return SS_NEXT(readv)(fd, parts, count);
  int before = errno;
  struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
  receiving r = {RECVMSG, NULL, 0, 0, NULL, NULL, &message};
  ss_wait wait = {0, 0};
  ssize_t got = receive(fd, &r, &wait);
  if (got == SS_WAIT_PASS) return SS_NEXT(readv)(fd, parts, count);
  if (got < 0 && errno == ENOTSOCK) {
    errno = before;
    got = read_other(fd, parts, count);
  }
  if (got >= 0) errno = before;
  return got;
}

/* ---- as compilers call them under _FORTIFY_SOURCE ---- */

_Noreturn void __chk_fail(void);
ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room);
ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *restrict buffer, size_t size, size_t room, int flags, __SOCKADDR_ARG from,
                       socklen_t *restrict from_len);

/* [as read] */
ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room) {
  if (size > room) __chk_fail();
  return read(fd, buffer, size);
}

/* [as recv] */
ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags) {
  if (size > room) __chk_fail();
  return recv(fd, buffer, size, flags);
}

/* [as recvfrom] */
ssize_t __recvfrom_chk(int fd, void *restrict buffer, size_t size, size_t room, int flags, __SOCKADDR_ARG from,
                       socklen_t *restrict from_len) {
  if (size > room) __chk_fail();
  return recvfrom(fd, buffer, size, flags, from, from_len);
}
