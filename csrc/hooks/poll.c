/*
 * poll, ppoll, select, pselect, epoll_wait, epoll_pwait. Each asks the kernel with no time at all, waits, and asks again:
 * the answer is always the kernel's own. They wait whatever the descriptors' flags are, as they do without hooks.
 *
 * A signal mask is in force while the kernel is asked, so that signals that it lets through are delivered then; one that
 * comes while the fiber waits is delivered when the fiber goes on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hooks.h"

/* A wait that neither answered nor failed for good: ask the kernel again. [fiber; no; no] */
static int again(int outcome) {
  /* Closed: the kernel says which one and how. */
  return outcome == SS_WAIT_READY || outcome == SS_WAIT_CLOSED || (outcome == SS_WAIT_FAILED && errno == EBADF);
}

static int64_t nanoseconds(const struct timespec *time) {
  int64_t whole;
  if (__builtin_mul_overflow((int64_t)time->tv_sec, SS_SECOND, &whole)) return INT64_MAX;
  return __builtin_add_overflow(whole, time->tv_nsec, &whole) ? INT64_MAX : whole;
}

static int valid(const struct timespec *time) {
  return time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < SS_SECOND;
}

static const struct timespec at_once;

/* ---- poll ---- */

/* `after`: nanoseconds, negative: for ever. [fiber; may suspend; no] */
static int poll_waiting(struct pollfd *fds, nfds_t count, int64_t after, const sigset_t *mask) {
  int before = errno;
  ss_wait wait = {ss_hooks_deadline(after), 0};
  for (;;) {
    int ready = mask ? SS_NEXT(ppoll)(fds, count, &at_once, mask) : SS_NEXT(poll)(fds, count, 0);
    if (ready != 0 || after == 0) return ready;
    int outcome = ss_hooks_wait(&wait, fds, count);
    if (outcome == SS_WAIT_PASS) return SS_WAIT_PASS;
    if (outcome == SS_WAIT_OVER)
      after = 0; /* one last look */
    else if (!again(outcome))
      return -1;
    errno = before;
  }
}

/* [any thread; guests may suspend; no] */
int poll(struct pollfd *fds, nfds_t count, int timeout) {
  if (timeout != 0 && ss_hooks_guest()) {
    int ready = poll_waiting(fds, count, timeout < 0 ? -1 : timeout * (SS_SECOND / 1000), NULL);
    if (ready != SS_WAIT_PASS) return ready;
    return SS_PASS(SS_NEXT(poll)(fds, count, timeout));
  }
  return SS_NEXT(poll)(fds, count, timeout);
}

/* [any thread; guests may suspend; no] */
int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask) {
  if ((!timeout || valid(timeout)) && ss_hooks_guest()) {
    int ready = poll_waiting(fds, count, timeout ? nanoseconds(timeout) : -1, mask);
    if (ready != SS_WAIT_PASS) return ready;
    return SS_PASS(SS_NEXT(ppoll)(fds, count, timeout, mask));
  }
  return SS_NEXT(ppoll)(fds, count, timeout, mask);
}

_Noreturn void __chk_fail(void);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t room);

/* [as poll] */
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room) {
  if (room / sizeof *fds < count) __chk_fail();
  return poll(fds, count, timeout);
}

/* [as ppoll] */
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t room) {
  if (room / sizeof *fds < count) __chk_fail();
  return ppoll(fds, count, timeout, mask);
}

/* ---- select ---- */

/* A set may be longer than fd_set: it is as long as `count` says. */
typedef unsigned long word;
enum { WORD_BITS = 8 * sizeof(word) };
static size_t words(int count) { return ((size_t)count + WORD_BITS - 1) / WORD_BITS; }
static int has(const word *set, int fd) { return set && set[fd / WORD_BITS] >> (fd % WORD_BITS) & 1; }

/* The sets as given, which the kernel's answer replaces, and as descriptors to wait for. */
typedef struct selecting {
  int count;
  fd_set *sets[3];
  word *kept[3];
  struct pollfd *fds;
  nfds_t nfds;
} selecting;

/* What select() means by "readable", "writable" and "exceptional". */
static const short events_of[3] = {POLLIN | POLLRDNORM | POLLRDBAND, POLLOUT | POLLWRNORM | POLLWRBAND, POLLPRI};

/* Fills `s` with memory of its own, in one piece. NULL: there is none. [fiber; no; no] */
static void *keep(selecting *s) {
  size_t size = words(s->count) * sizeof(word);
  nfds_t most = 0;
  for (int i = 0; i < 3; i++)
    for (size_t w = 0; s->sets[i] && w < words(s->count); w++)
      most += (nfds_t)__builtin_popcountl(((const word *)s->sets[i])[w]);
  char *memory = malloc(3 * size + most * sizeof(struct pollfd) + 1);
  if (!memory) return NULL;
  for (int i = 0; i < 3; i++) {
    s->kept[i] = s->sets[i] ? (word *)(memory + (size_t)i * size) : NULL;
    if (s->kept[i]) memcpy(s->kept[i], s->sets[i], size);
  }
  s->fds = (struct pollfd *)(memory + 3 * size);
  for (int fd = 0; fd < s->count; fd++) {
    short events = 0;
    for (int i = 0; i < 3; i++)
      if (has(s->kept[i], fd)) events |= events_of[i];
    if (events) s->fds[s->nfds++] = (struct pollfd){fd, events, 0};
  }
  return memory;
}

/* [fiber; may suspend; no] */
static int select_waiting(selecting *s, int64_t after, const sigset_t *mask) {
  int before = errno;
  ss_wait wait = {ss_hooks_deadline(after), 0};
  void *memory = NULL;
  for (;;) {
    /* It changes the time it is given. */
    struct timespec none = at_once;
    int ready;
    if (!memory && s->count > 0 && s->count <= 1 << 20 && !(memory = keep(s))) {
      errno = ENOMEM;
      return -1;
    }
    ready = SS_NEXT(pselect)(s->count, s->sets[0], s->sets[1], s->sets[2], &none, mask);
    int outcome = SS_WAIT_READY;
    if (ready == 0 && after != 0) {
      for (int i = 0; i < 3; i++)
        if (s->sets[i] && memory) memcpy(s->sets[i], s->kept[i], words(s->count) * sizeof(word));
      outcome = ss_hooks_wait(&wait, s->fds, s->nfds);
      if (outcome == SS_WAIT_OVER) after = 0;
      if (outcome == SS_WAIT_PASS) ready = SS_WAIT_PASS;
      else if (outcome != SS_WAIT_OVER && !again(outcome)) ready = -1;
      else {
        errno = before;
        continue;
      }
    }
    int error = errno;
    free(memory);
    errno = error;
    return ready;
  }
}

/* [any thread; guests may suspend; no] */
int select(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict except,
           struct timeval *restrict timeout) {
  int for_ever = !timeout;
  int timed = timeout && timeout->tv_sec >= 0 && timeout->tv_usec >= 0 && (timeout->tv_sec || timeout->tv_usec);
  if (!(for_ever || timed) || !ss_hooks_guest()) return SS_NEXT(select)(count, in, out, except, timeout);
  selecting s = {.count = count, .sets = {in, out, except}};
  struct timespec after = {0, 0};
  if (timed) after = (struct timespec){timeout->tv_sec, timeout->tv_usec * 1000};
  int64_t deadline = ss_hooks_deadline(timed ? nanoseconds(&after) : -1);
  int ready = select_waiting(&s, timed ? nanoseconds(&after) : -1, NULL);
  if (timed) { /* Linux tells the time that is left */
    int64_t left = deadline - ss_hooks_now();
    if (left < 0) left = 0;
    if (deadline != SS_NO_DEADLINE)
      *timeout = (struct timeval){left / SS_SECOND, left % SS_SECOND / 1000};
  }
  return ready != SS_WAIT_PASS ? ready : SS_PASS(SS_NEXT(select)(count, in, out, except, timeout));
}

/* [any thread; guests may suspend; no] */
int pselect(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict except,
            const struct timespec *restrict timeout, const sigset_t *restrict mask) {
  if ((!timeout || valid(timeout)) && ss_hooks_guest()) {
    selecting s = {.count = count, .sets = {in, out, except}};
    int ready = select_waiting(&s, timeout ? nanoseconds(timeout) : -1, mask);
    if (ready != SS_WAIT_PASS) return ready;
    return SS_PASS(SS_NEXT(pselect)(count, in, out, except, timeout, mask));
  }
  return SS_NEXT(pselect)(count, in, out, except, timeout, mask);
}

/* ---- epoll ---- */

/* [any thread; guests may suspend; no] */
int epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout, const sigset_t *mask) {
  if (timeout == 0 || !ss_hooks_guest()) return SS_NEXT(epoll_pwait)(epoll, events, most, timeout, mask);
  int before = errno;
  int64_t after = timeout < 0 ? -1 : timeout * (SS_SECOND / 1000);
  ss_wait wait = {ss_hooks_deadline(after), 0};
  for (;;) {
    int ready = SS_NEXT(epoll_pwait)(epoll, events, most, 0, mask);
    if (ready != 0 || after == 0) return ready;
    /* An epoll descriptor is itself readable when it has events. */
    struct pollfd one = {epoll, POLLIN, 0};
    int outcome = ss_hooks_wait(&wait, &one, 1);
    if (outcome == SS_WAIT_PASS) return SS_PASS(SS_NEXT(epoll_pwait)(epoll, events, most, timeout, mask));
    if (outcome == SS_WAIT_OVER)
      after = 0;
    else if (!again(outcome))
      return -1;
    errno = before;
  }
}

/* [any thread; guests may suspend; no] */
int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
  if (timeout == 0 || !ss_hooks_guest()) return SS_NEXT(epoll_wait)(epoll, events, most, timeout);
  return epoll_pwait(epoll, events, most, timeout, NULL);
}
