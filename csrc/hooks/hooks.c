/* What all hooks share: the next definitions, the waiting, and what is asked of a descriptor. */
#include "hooks.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>

#include "signals_state.h"
#include "tick.h"

ss_next_functions ss_next_table;
volatile int ss_hooks_in_child;
volatile uint32_t ss_hooks_waits;

static void in_child(void) { ss_hooks_in_child = 1; }

/* Early, while there is one thread. Whoever is earlier still (another library's constructor) comes through SS_NEXT.
   [any thread; no; no] */
__attribute__((constructor)) void ss_hooks_find(void) {
  if (ss_next_table.found) return;
#define SS_FIND(name) *(void **)&ss_next_table.name = dlsym(RTLD_NEXT, #name);
  SS_HOOKED(SS_FIND)
#undef SS_FIND
  __atomic_store_n(&ss_next_table.found, 1, __ATOMIC_RELEASE);
  pthread_atfork(NULL, NULL, in_child);
}

/* The fortified ones have no declarations. */
#define SS_DECLARE(name) void name(void);
SS_HOOKED_CHECKED(SS_DECLARE)
#undef SS_DECLARE

/* It names every hook, and so every file of hooks is linked. */
const char *ss_hooks_missing(uint32_t index) {
  static const struct {
    const char *name;
    void (*address)(void);
  } hooks[] = {
#define SS_ROW(name) {#name, (void (*)(void))name},
      SS_HOOKED(SS_ROW) SS_HOOKED_CHECKED(SS_ROW)
#undef SS_ROW
  };
  for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) {
    void *found = dlsym(RTLD_DEFAULT, hooks[i].name);
    if (memcmp(&found, &hooks[i].address, sizeof found) != 0 && index-- == 0) return hooks[i].name;
  }
  return NULL;
}

int64_t ss_hooks_function(int which) {
  /* An interpreter thread serves one engine, all its life. */
  static __thread int64_t ids[SS_HOOKS_FUNCTIONS];
  static const char *const names[] = {"sidestack.hooks.wait", "sidestack.hooks.closing", "sidestack.hooks.work"};
  if (ids[which] == 0) ids[which] = ss_function_id(names[which]) + 1;
  return ids[which] - 1;
}

int ss_hooks_refused(ss_call *call, int status) {
  /* The codes of a cancel under way (src/error.rs), and of the guest's alarm. */
  static const char *const cancelled[] = {"cancelled", "deadline", "memory", "alarm"};
  int refused = status == SS_ERROR;
  if (refused && call->count > 0 && call->values[0].tag == SS_STRING) {
    const ss_value *code = &call->values[0];
    for (size_t i = 0; i < sizeof cancelled / sizeof *cancelled; i++)
      if (code->len == strlen(cancelled[i]) && memcmp(code->as.bytes, cancelled[i], code->len) == 0) refused = 0;
  }
  ss_host_end(call);
  return refused;
}

/* On the thread's alternate stack: the handlers that guests install run there. */
int ss_hooks_in_handler(void) {
  const ss_signals *signals = &ss_signals_state;
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  return signals->stack && here - (uintptr_t)signals->stack < signals->stack_size;
}

void ss_hooks_give_way(void) {
  if (ss_hooks_in_handler()) return;
  int before = errno;
  ss_call call = {0};
  ss_poll(&call, 0); /* cancelled: the next call that has to wait says so */
  ss_host_end(&call);
  errno = before;
}

/* ---- waiting ---- */

int64_t ss_hooks_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * SS_SECOND + now.tv_nsec;
}

int64_t ss_hooks_deadline(int64_t after) {
  int64_t deadline;
  if (after < 0 || __builtin_add_overflow(ss_hooks_now(), after, &deadline)) return SS_NO_DEADLINE;
  return deadline;
}

/* The host call of a wait. [fiber; may suspend; no] */
static int host_wait(const struct pollfd *fds, nfds_t count, int64_t deadline) {
  int64_t function = ss_hooks_function(SS_HOOKS_WAIT);
  if (function < 0 || ss_hooks_in_handler()) return SS_WAIT_PASS;
  int64_t after = -1;
  if (deadline != SS_NO_DEADLINE) {
    after = deadline - ss_hooks_now();
    if (after <= 0) return SS_WAIT_OVER;
  }
  ss_value args[3] = {{SS_INT, 0, {.integer = (int64_t)(intptr_t)fds}},
                      {SS_INT, 0, {.integer = (int64_t)count}},
                      {SS_INT, 0, {.integer = after}}};
  ss_call call = {0};
  if (count) __atomic_add_fetch(&ss_hooks_waits, 1, __ATOMIC_RELAXED);
  int status = ss_host_call((uint32_t)function, args, 3, &call);
  if (count) __atomic_sub_fetch(&ss_hooks_waits, 1, __ATOMIC_RELAXED);
  if (status != SS_OK) {
    if (ss_hooks_refused(&call, status)) return SS_WAIT_PASS;
    errno = ECANCELED;
    return SS_WAIT_FAILED;
  }
  int64_t result = call.count ? call.values[0].as.integer : SS_WAIT_OVER;
  ss_host_end(&call);
  if (result >= 0) return (int)result;
  errno = (int)-result;
  return SS_WAIT_FAILED;
}

/*
 * What epoll reports and what the call wants are not always the same: a hang-up is always reported, a full queue of the
 * other side never. After some wakes for nothing within a millisecond each, the call is repeated by the clock instead.
 */
enum { FUTILE = 16 };

int ss_hooks_wait(ss_wait *wait, const struct pollfd *fds, nfds_t count) {
  if (wait->futile >= FUTILE) return ss_hooks_back_off(wait);
  int64_t begun = ss_hooks_now();
  int outcome = host_wait(fds, count, wait->deadline);
  if (outcome == SS_WAIT_READY) wait->futile = ss_hooks_now() - begun < SS_SECOND / 1000 ? wait->futile + 1 : 0;
  return outcome;
}

int ss_hooks_wait_one(ss_wait *wait, int fd, short events) {
  struct pollfd one = {fd, events, 0};
  int outcome = ss_hooks_wait(wait, &one, 1);
  if (outcome != SS_WAIT_CLOSED) return outcome;
  errno = EBADF;
  return SS_WAIT_FAILED;
}

int ss_hooks_back_off(ss_wait *wait) {
  /* 1, 2, 4, 8, 8, ... ms */
  unsigned step = wait->futile < FUTILE ? 0 : wait->futile - FUTILE;
  wait->futile = wait->futile < FUTILE ? FUTILE + 1 : step < 3 ? wait->futile + 1 : wait->futile;
  int64_t pause = ss_hooks_deadline((SS_SECOND / 1000) << (step < 3 ? step : 3));
  int last = pause >= wait->deadline;
  int outcome = host_wait(NULL, 0, last ? wait->deadline : pause);
  return outcome == SS_WAIT_OVER && !last ? SS_WAIT_READY : outcome;
}

uint64_t ss_hooks_hold_ticks(void) { return ss_set_mask(SIG_BLOCK, SS_BIT(ss_tick_signal())); }

void ss_hooks_release_ticks(uint64_t mask) {
  int before = errno;
  ss_set_mask(SIG_SETMASK, mask);
  errno = before;
}

/* ---- descriptors ---- */

int ss_hooks_nonblocking(int fd) {
  int before = errno;
  int flags = fcntl(fd, F_GETFL);
  errno = before;
  return flags < 0 || flags & O_NONBLOCK;
}

int64_t ss_hooks_socket_deadline(int fd, int option) {
  int before = errno;
  struct timeval limit = {0, 0};
  socklen_t size = sizeof limit;
  int failed = getsockopt(fd, SOL_SOCKET, option, &limit, &size);
  errno = before;
  if (failed || (limit.tv_sec == 0 && limit.tv_usec == 0) || limit.tv_sec > INT32_MAX) return SS_NO_DEADLINE;
  return ss_hooks_deadline(limit.tv_sec * SS_SECOND + limit.tv_usec * 1000);
}

/* A terminal in whose mode a read ends by itself. [any thread; no; no] */
static int returns_by_itself(int fd) {
  struct termios mode;
  return tcgetattr(fd, &mode) == 0 && !(mode.c_lflag & ICANON) && mode.c_cc[VMIN] == 0;
}

enum ss_kind ss_hooks_kind(int fd) {
  int before = errno;
  struct stat file;
  enum ss_kind kind = SS_KIND_POLL;
  if (fstat(fd, &file) || S_ISREG(file.st_mode) || S_ISDIR(file.st_mode) || S_ISBLK(file.st_mode))
    kind = SS_KIND_FILE;
  else if (S_ISFIFO(file.st_mode))
    kind = SS_KIND_PIPE;
  else if (S_ISCHR(file.st_mode) && returns_by_itself(fd))
    kind = SS_KIND_FILE;
  errno = before;
  return kind;
}
