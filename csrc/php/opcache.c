/*
 * opcache restarts (opcache_reset(), or its memory is used up) when a request begins and nobody else uses what is in its shared
 * memory. It finds that out by locks of the file system, which processes hold; here the memory is one process's, and the requests of
 * one process are one user to them. So its fcntl() is ours (build/php.sh), and no system call: its users are counted, and while
 * it restarts, no request begins. Until then opcache compiles without its cache.
 */
#include "opcache.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>

#include "inner.h"
#include "zend_ini.h"

/* The bytes of its lock file that stand for its users, and for the restart (accel_is_inactive, accel_restart_leave). */
enum { USERS = 1, RESTART = 2 };

static const uint32_t RESTARTING = 0x80000000u;
static uint32_t open_requests; /* how many, and RESTARTING */

/* [fiber; no; no] */
void ssphp_opcache_enter(void) {
  uint32_t seen = __atomic_load_n(&open_requests, __ATOMIC_RELAXED);
  for (;;) {
    if (seen & RESTARTING) { /* another thread's, and nothing in it waits */
      sched_yield();
      seen = __atomic_load_n(&open_requests, __ATOMIC_RELAXED);
    } else if (__atomic_compare_exchange_n(&open_requests, &seen, seen + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
      return;
    }
  }
}

/* [fiber; no; no] */
void ssphp_opcache_leave(void) { __atomic_sub_fetch(&open_requests, 1, __ATOMIC_ACQ_REL); }

/* opcache's fcntl(), with a lock always. [fiber, or PHP's thread; no; no] */
int ssphp_opcache_fcntl(int fd, int command, ...);
int ssphp_opcache_fcntl(int fd, int command, ...) {
  (void)fd;
  va_list list;
  va_start(list, command);
  struct flock *lock = va_arg(list, struct flock *);
  va_end(list);
  if (command == F_GETLK) {
    uint32_t alone = 1; /* the request that asks */
    bool users = lock->l_start == USERS &&
                 !__atomic_compare_exchange_n(&open_requests, &alone, 1 | RESTARTING, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    lock->l_type = users ? F_RDLCK : F_UNLCK;
    lock->l_pid = -1;
  } else if (lock->l_start == RESTART && lock->l_type == F_UNLCK) {
    __atomic_and_fetch(&open_requests, ~RESTARTING, __ATOMIC_RELEASE);
  }
  return 0;
}

/* Traces of one request would be entered in the middle by another. [PHP's thread; no; no] */
const char *ssphp_opcache_refuses(void) {
  static const char *const good[] = {"disable", "off", "no", "false", "0", "", "function", "1205"};
  const char *jit = zend_ini_string("opcache.jit", sizeof("opcache.jit") - 1, 0);
  if (jit == NULL) return NULL;
  for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
    if (strcasecmp(jit, good[i]) == 0) return NULL;
  return "opcache.jit can be `function` or `disable` here";
}
