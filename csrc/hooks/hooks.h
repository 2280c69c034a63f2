/*
 * The feature `hooks`: blocking calls of the C library, made by guest code on a fiber, suspend the fiber.
 *
 * Each function of SS_HOOKED is defined here, in the executable, and so stands before the C library's for everything that
 * is linked or loaded (as sigaction in registration.c). Called by anyone but guest code on a fiber it calls the next
 * definition and does nothing else. For guest code it does three things:
 *
 * 1. It tries without blocking. Most calls end here, with the kernel's own result.
 * 2. If the kernel would have blocked, the fiber waits in a host call (src/hooks) until the descriptor is ready or the
 *    time is over.
 * 3. It tries again.
 *
 * A descriptor's flags are not changed (connect is the one exception: connect.c). Where the fiber cannot be suspended (in
 * a finalizer) the next definition is called and blocks. A fiber that is cancelled gets -1 and ECANCELED from the call that
 * waits and from each later one that would have to.
 */
#ifndef SIDESTACK_HOOKS_H
#define SIDESTACK_HOOKS_H

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <resolv.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crossing.h"

#define SS_HOOKED(X)                                                                                                   \
  X(connect) X(accept) X(accept4) X(read) X(readv) X(recv) X(recvfrom) X(recvmsg) X(write) X(writev) X(send) X(sendto) \
  X(sendmsg) X(poll) X(ppoll) X(select) X(pselect) X(epoll_wait) X(epoll_pwait) X(sleep) X(usleep) X(nanosleep)        \
  X(clock_nanosleep) X(getaddrinfo) X(gethostbyname_r) X(getnameinfo) X(res_nsearch) X(flock) X(waitpid) X(pclose)     \
  X(close) X(dup2) X(dup3)

/* What compilers make of some of them under _FORTIFY_SOURCE: as the plain ones, after the check of the size. */
#define SS_HOOKED_CHECKED(X) X(__read_chk) X(__recv_chk) X(__recvfrom_chk) X(__poll_chk) X(__ppoll_chk)

/* The next definitions: the C library's, as a rule. */
typedef struct ss_next_functions {
#define SS_FIELD(name) __typeof__(&name) name;
  SS_HOOKED(SS_FIELD)
#undef SS_FIELD
  int found;
} ss_next_functions;

extern ss_next_functions ss_next_table;

/* Fills the table. [any thread; no; no] */
void ss_hooks_find(void);

/* 1 in a child after fork(): it has no interpreter, and everything passes through. */
extern volatile int ss_hooks_in_child;

/* Waits for descriptors that are under way in this process; close() looks at it. */
extern volatile uint32_t ss_hooks_waits;

/* A slice is over: the others have their turn. [fiber; may suspend; no] */
void ss_hooks_give_way(void);

/* The next definition of a hooked function. */
#define SS_NEXT(name)                                                                                                  \
  (__builtin_expect(__atomic_load_n(&ss_next_table.found, __ATOMIC_ACQUIRE), 1) ? (void)0 : ss_hooks_find(),           \
   ss_next_table.name)

/* Whether guest code on a fiber is calling. [any thread, also in a handler; may suspend: the end of a slice; no] */
static inline int ss_hooks_guest(void) {
  const ss_thread *thread = &ss_thread_state;
  if (!thread->attached || thread->place != SS_ON_FIBER || thread->in_host || ss_hooks_in_child) return 0;
  if (__builtin_expect(thread->interrupt & SS_INTERRUPT_SLICE, 0)) ss_hooks_give_way();
  return 1;
}

/* What a wait came to. Not errno values, nor results of any hooked function. */
enum {
  SS_WAIT_PASS = -2,   /* the fiber cannot be suspended here: call the next definition */
  SS_WAIT_FAILED = -1, /* errno says why: ECANCELED, or what the kernel said to the reactor */
  SS_WAIT_OVER = 0,    /* the time is over */
  SS_WAIT_READY = 1,   /* look again */
  SS_WAIT_CLOSED = 2,  /* guest code closed one of the descriptors */
};

/*
 * After SS_WAIT_PASS: the next definition blocks this thread. Ticks would end sleeps and polls with EINTR, every few
 * milliseconds: they are held back meanwhile.
 */
#define SS_PASS(call)                                                                                                  \
  __extension__({                                                                                                      \
    uint64_t ss_former = ss_hooks_hold_ticks();                                                                        \
    __typeof__(call) ss_result = (call);                                                                               \
    ss_hooks_release_ticks(ss_former);                                                                                 \
    ss_result;                                                                                                         \
  })

/* Blocks the tick's signal; returns the former mask. [fiber; no; no] */
uint64_t ss_hooks_hold_ticks(void);
/* Restores it; errno is kept. [fiber; no; no] */
void ss_hooks_release_ticks(uint64_t mask);

/* One hooked call's waiting, from the first wait to the last. */
typedef struct ss_wait {
  int64_t deadline; /* CLOCK_MONOTONIC, nanoseconds; SS_NO_DEADLINE */
  unsigned futile;  /* wakes in a row that came at once, for nothing */
} ss_wait;

#define SS_NO_DEADLINE INT64_MAX
#define SS_SECOND INT64_C(1000000000)

/* CLOCK_MONOTONIC in nanoseconds. [any thread; no; no] */
int64_t ss_hooks_now(void);

/* `after` nanoseconds from now, without overflow; negative: SS_NO_DEADLINE. [any thread; no; no] */
int64_t ss_hooks_deadline(int64_t after);

/* Waits until one of the descriptors may be ready (false alarms are possible), or the time is over. [fiber; may suspend; no] */
int ss_hooks_wait(ss_wait *wait, const struct pollfd *fds, nfds_t count);

/* The same for one descriptor; SS_WAIT_CLOSED becomes SS_WAIT_FAILED with EBADF. [fiber; may suspend; no] */
int ss_hooks_wait_one(ss_wait *wait, int fd, short events);

/* For calls that have to be made again later, with nothing to wait for: a millisecond first, then more.
   [fiber; may suspend; no] */
int ss_hooks_back_off(ss_wait *wait);

/*
 * A call that the C library gives no way to wait for: it is made on the host's thread pool while the fiber waits, in memory of
 * its own, since the fiber may be cancelled, and its stack gone, before it returns. What is called has this as its first
 * member.
 */
typedef struct ss_work {
  void (*run)(struct ss_work *);    /* makes the call. [a pool's thread, or the fiber; no; no] */
  void (*forget)(struct ss_work *); /* frees what it made and nobody took; may be NULL. [any thread; no; no] */
  int owed;                         /* 1: it is made even if the fiber is cancelled */
  uint32_t state, holders;          /* work.c's */
} ss_work;

/* A zeroed one of `size` bytes, held by the caller; NULL: no memory. [any thread; no; no] */
void *ss_work_new(size_t size, void (*run)(ss_work *), void (*forget)(ss_work *));

/* Whoever holds it last frees it. [any thread; no; no] */
void ss_work_hold(ss_work *work);
void ss_work_end(ss_work *work);

/* Makes the call, unless somebody does or did. [any thread; no; no] */
void ss_work_run(ss_work *work);

/* Has the call made. 1: it has returned; 0, with ECANCELED: the fiber is cancelled. [fiber; may suspend; no] */
int ss_hooks_work(ss_work *work);

/* O_NONBLOCK is set, or `fd` is none. errno is kept. [any thread; no; no] */
int ss_hooks_nonblocking(int fd);

/* When SO_RCVTIMEO or SO_SNDTIMEO of a socket, counted from now, is over. errno is kept. [any thread; no; no] */
int64_t ss_hooks_socket_deadline(int fd, int option);

/* What read() and write() find behind a descriptor that is no socket. */
enum ss_kind {
  SS_KIND_FILE, /* never waits, or cannot be waited for */
  SS_KIND_PIPE, /* takes RWF_NOWAIT where the kernel has it */
  SS_KIND_POLL, /* terminals, eventfd, timerfd, ... : poll, then call */
};

/* errno is kept. [any thread; no; no] */
enum ss_kind ss_hooks_kind(int fd);

/* For the numbers of the host functions of src/hooks: by thread, looked up once. -1: none. [fiber; no; no] */
int64_t ss_hooks_function(int which);
enum { SS_HOOKS_WAIT, SS_HOOKS_CLOSING, SS_HOOKS_WORK, SS_HOOKS_FUNCTIONS };

/* In a signal handler that a guest installed: a fiber must not be suspended there. [fiber; no; no] */
int ss_hooks_in_handler(void);

/*
 * Whether a host call's error means that the fiber cannot be suspended here, and not that it was cancelled. Ends the call.
 * [fiber; no; no]
 */
int ss_hooks_refused(ss_call *call, int status);

/* For Rust: the name of the `index`th hook that something else stands before, so that it catches nothing; NULL after the
   last one. [any thread; no; no] */
const char *ss_hooks_missing(uint32_t index);

#endif
