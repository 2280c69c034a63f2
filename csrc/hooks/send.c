/*
 * write, writev, send, sendto, sendmsg. A blocking call ends when all is sent, so a part that went through is followed by
 * the rest. An error after a part is not told now: the part counts, and the next call finds the error. That is what the kernel
 * does too.
 */
#include <errno.h>
#include <limits.h>

#include "hooks.h"

/* Waits until more may be sent. 0: try again; SS_WAIT_PASS; -1 with errno. [fiber; may suspend; no] */
static int wait_for_room(int fd, ss_wait *wait) {
  if (!wait->deadline) {
    if (ss_hooks_nonblocking(fd)) return -1;
    wait->deadline = ss_hooks_socket_deadline(fd, SO_SNDTIMEO);
  }
  int outcome = ss_hooks_wait_one(wait, fd, POLLOUT);
  if (outcome == SS_WAIT_OVER) {
    errno = EAGAIN;
    return -1;
  }
  if (outcome == SS_WAIT_FAILED) return -1;
  return outcome == SS_WAIT_PASS ? SS_WAIT_PASS : 0;
}

/* `sent` bytes of the parts are gone: the rest. Only streams get here. [fiber; may suspend; no] */
static ssize_t send_rest(int fd, const struct iovec *parts, size_t count, ssize_t sent, int flags, ss_wait *wait) {
  ssize_t before = 0;
  /* The signal comes with the next call, as its error does. */
  flags |= MSG_NOSIGNAL | MSG_DONTWAIT;
  for (size_t i = 0; i < count; i++) {
    ssize_t size = (ssize_t)parts[i].iov_len;
    while (sent < before + size) {
      const char *from = (const char *)parts[i].iov_base + (sent - before);
      size_t left = (size_t)(before + size - sent);
      ssize_t more = SS_NEXT(send)(fd, from, left, flags);
      if (more < 0 && errno == EAGAIN) {
        int room = wait_for_room(fd, wait);
        if (room == SS_WAIT_PASS) more = SS_NEXT(send)(fd, from, left, flags & ~MSG_DONTWAIT);
        else if (room == 0) continue;
      }
      if (more < 0) return sent;
      sent += more;
    }
    before += size;
  }
  return sent;
}

/* [fiber; may suspend; no] */
static ssize_t send_message(int fd, const struct msghdr *message, int flags) {
  int before = errno;
  ss_wait wait = {0, 0};
  ssize_t sent;
  for (;;) {
    sent = SS_NEXT(sendmsg)(fd, message, flags | MSG_DONTWAIT);
    if (sent >= 0 || errno != EAGAIN) break;
    int room = wait_for_room(fd, &wait);
    if (room != 0) return room;
  }
  if (sent < 0) return -1;
  size_t size = 0;
  for (size_t i = 0; i < message->msg_iovlen; i++) size += message->msg_iov[i].iov_len;
  if ((size_t)sent < size && !ss_hooks_nonblocking(fd))
    sent = send_rest(fd, message->msg_iov, message->msg_iovlen, sent, flags, &wait);
  errno = before;
  return sent;
}

/* [any thread; guests may suspend; no] */
ssize_t sendto(int fd, const void *buffer, size_t size, int flags, __CONST_SOCKADDR_ARG to, socklen_t to_len) {
  if (ss_hooks_guest() && !(flags & MSG_DONTWAIT)) {
    struct iovec part = {(void *)buffer, size};
    struct msghdr message = {.msg_name = (void *)to.__sockaddr__, .msg_namelen = to.__sockaddr__ ? to_len : 0,
                             .msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent = send_message(fd, &message, flags);
    if (sent != SS_WAIT_PASS) return sent;
  }
  return SS_NEXT(sendto)(fd, buffer, size, flags, to, to_len);
}

/* [any thread; guests may suspend; no] */
ssize_t send(int fd, const void *buffer, size_t size, int flags) {
  if (!ss_hooks_guest()) return SS_NEXT(send)(fd, buffer, size, flags);
  return sendto(fd, buffer, size, flags, (struct sockaddr *)NULL, 0);
}

/* [any thread; guests may suspend; no] */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  if (ss_hooks_guest() && message && !(flags & MSG_DONTWAIT)) {
    ssize_t sent = send_message(fd, message, flags);
    if (sent != SS_WAIT_PASS) return sent;
  }
  return SS_NEXT(sendmsg)(fd, message, flags);
}

/* ---- write and writev ---- */

/*
 * One attempt at a pipe, a terminal or the like, all parts or some: -1 and EAGAIN if it would block. Where the kernel has no
 * way to ask for that (pipes before Linux 6.4), poll comes first, and then as much as fits for sure.
 * [fiber; no; no]
 */
static ssize_t attempt_other(int fd, enum ss_kind kind, const struct iovec *parts, int count) {
  if (kind == SS_KIND_PIPE) {
    ssize_t sent = pwritev2(fd, parts, count, -1, RWF_NOWAIT);
    if (sent >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)) return sent;
  }
  struct pollfd ready = {fd, POLLOUT, 0};
  if (SS_NEXT(poll)(&ready, 1, 0) == 0) {
    errno = EAGAIN;
    return -1;
  }
  size_t size = 0;
  for (int i = 0; i < count; i++) size += parts[i].iov_len;
  if (size <= PIPE_BUF) return SS_NEXT(writev)(fd, parts, count);
  while (parts->iov_len == 0) parts++;
  return SS_NEXT(write)(fd, parts->iov_base, parts->iov_len < PIPE_BUF ? parts->iov_len : PIPE_BUF);
}

/* [fiber; may suspend; no] */
static ssize_t write_other(int fd, const struct iovec *parts, int count) {
  enum ss_kind kind = ss_hooks_kind(fd);
  if (kind == SS_KIND_FILE || ss_hooks_nonblocking(fd)) return SS_NEXT(writev)(fd, parts, count);
  ss_wait wait = {SS_NO_DEADLINE, 0};
  ssize_t sent = 0, before = 0;
  int part = 0;
  for (;;) {
    while (part < count && sent == before + (ssize_t)parts[part].iov_len) before += (ssize_t)parts[part++].iov_len;
    if (part == count) return sent;
    /* A part that was cut first, alone; then those behind it together. */
    struct iovec cut = {(char *)parts[part].iov_base + (sent - before), parts[part].iov_len - (size_t)(sent - before)};
    const struct iovec *rest = sent == before ? parts + part : &cut;
    int left = sent == before ? count - part : 1;
    ssize_t more = attempt_other(fd, kind, rest, left);
    if (more < 0 && errno == EAGAIN) {
      int outcome = ss_hooks_wait_one(&wait, fd, POLLOUT);
      if (outcome == SS_WAIT_READY) continue;
      if (outcome == SS_WAIT_PASS) more = SS_NEXT(writev)(fd, rest, left);
    }
    if (more < 0) return sent ? sent : -1;
    sent += more;
    while (part < count && sent >= before + (ssize_t)parts[part].iov_len) before += (ssize_t)parts[part++].iov_len;
  }
}

/* [any thread; guests may suspend; no] */
ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (count <= 0 || count > IOV_MAX || !ss_hooks_guest()) return SS_NEXT(writev)(fd, parts, count);
  int before = errno;
  struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
  ssize_t sent = send_message(fd, &message, 0);
  if (sent == SS_WAIT_PASS) return SS_NEXT(writev)(fd, parts, count);
  if (sent < 0 && errno == ENOTSOCK) {
    errno = before;
    sent = write_other(fd, parts, count);
  }
  if (sent >= 0) errno = before;
  return sent;
}

/* [any thread; guests may suspend; no] */
ssize_t write(int fd, const void *buffer, size_t size) {
  if (!ss_hooks_guest() || size > SSIZE_MAX) return SS_NEXT(write)(fd, buffer, size);
  struct iovec part = {(void *)buffer, size};
  return writev(fd, &part, 1);
}
