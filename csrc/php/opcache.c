/*
 * opcache restarts (opcache_reset(), or its memory is used up) when a request begins and nobody else uses what is in its shared
 * memory. It finds that out by locks of a file without a name, for the processes that a server forks; here one process serves all
 * requests, and a process does not stand in its own way. So its fcntl() is ours (build/php.sh), and makes no system call: the lock
 * of its users is held while another request that began with it is open, suspended or not, and while it restarts, no request
 * begins. Requests that begin meanwhile are compiled without it, use nothing of it, and do not count: so it restarts as soon as
 * those have ended that began before. Worker scripts do not end by themselves: new ones take their place (src/php/workers).
 *
 * What it compiles is bound to the host functions that there were, of which a call of one knows that it is there. So one set of
 * them shares its memory; interpreters with other functions compile without it. The set is that of the first interpreter, and
 * when none is left that has it, that of the next.
 */
#include "opcache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>

#include "common.h"
#include "declare.h"
#include "zend_ini.h"
#include "ext/opcache/ZendAccelerator.h"
#include "ext/opcache/zend_shared_alloc.h"

/* The bytes of its lock file that stand for its users, and for the restart (accel_is_inactive, accel_restart_leave). */
enum { USERS = 1, RESTART = 2 };

static const uint32_t RESTARTING = 0x80000000u;
static uint32_t users; /* open requests that may use its memory, and RESTARTING */
static uint32_t asked; /* restarts that were ever asked for */
static uint32_t waits; /* 1: for the last of them */

/* [fiber; no; no] */
static void restart_asked(int reason) {
  (void)reason;
  __atomic_add_fetch(&asked, 1, __ATOMIC_RELAXED);
  __atomic_store_n(&waits, 1, __ATOMIC_RELEASE);
}

void ssphp_opcache_open(void) { zend_accel_schedule_restart_hook = restart_asked; }

/* [any thread; no; no] */
uint32_t ssphp_opcache_wants(void) {
  return __atomic_load_n(&waits, __ATOMIC_ACQUIRE) ? __atomic_load_n(&asked, __ATOMIC_RELAXED) : 0;
}

/* Whether the loaded context may write to its memory, and nobody else. [fiber, or PHP's thread; no; no] */
static bool writes(void) { return lock_file >= 0 /* else it is off */ && ZCG(locked); }

/* ---- the functions it is bound to ---- */

static struct {
  pthread_mutex_t lock;
  uint64_t set;
  uint32_t interpreters; /* that share it */
} sharing = {.lock = PTHREAD_MUTEX_INITIALIZER};

void ssphp_opcache_join(ssphp *home) {
  uint64_t set = ssphp_functions_set(home->functions);
  pthread_mutex_lock(&sharing.lock);
  bool changes = sharing.interpreters == 0 && sharing.set != set;
  bool first = sharing.set == 0;
  if (changes) sharing.set = set;
  home->shares = sharing.set == set;
  if (home->shares) sharing.interpreters++;
  pthread_mutex_unlock(&sharing.lock);
  if (changes && !first && lock_file >= 0) zend_accel_schedule_restart(ACCEL_RESTART_OOM);
}

void ssphp_opcache_part(ssphp *home) {
  if (!home->shares) return;
  home->shares = 0;
  pthread_mutex_lock(&sharing.lock);
  sharing.interpreters--;
  pthread_mutex_unlock(&sharing.lock);
}

/* Its buffer for names is 32 KB, of which it hardly needs any. */
void ssphp_opcache_made(void) {
  if (lock_file >= 0) ssphp_pages_discard(ZSTR_VAL(ZCG(key)), ZSTR_LEN(ZCG(key)));
}

/* Until the end of the request. [fiber; no; may raise: memory] */
static void turn_off(void) {
  zend_string *name = ZSTR_INIT_LITERAL("opcache.enable", 0);
  zend_alter_ini_entry_chars(name, "0", 1, ZEND_INI_SYSTEM, ZEND_INI_STAGE_RUNTIME);
  zend_string_release_ex(name, 0);
}

/* ---- its users ---- */

void ssphp_opcache_enter(ssphp_context *context) {
  uint32_t seen = __atomic_load_n(&users, __ATOMIC_RELAXED);
  context->left_out = 0;
  for (;;) {
    if (seen & RESTARTING) { /* another thread's, and nothing in it waits */
      sched_yield();
      seen = __atomic_load_n(&users, __ATOMIC_RELAXED);
    } else if (__atomic_compare_exchange_n(&users, &seen, seen + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
      break;
    }
  }
  context->uses_opcache = 1;
}

void ssphp_opcache_started(ssphp_context *context) {
  if (!context->home->shares) turn_off();
  if (!context->home->shares || context->left_out) ssphp_opcache_leave(context);
}

void ssphp_opcache_leave(ssphp_context *context) {
  if (!context->uses_opcache) return;
  context->uses_opcache = 0;
  __atomic_sub_fetch(&users, 1, __ATOMIC_ACQ_REL);
}

bool ssphp_opcache_left_out(const ssphp_context *context) {
  return context->left_out && (ssphp_opcache_wants() == 0 || __atomic_load_n(&users, __ATOMIC_RELAXED) == 0);
}

/* Whether the request that starts on this thread may empty the memory. If so, nobody begins until it has. [fiber; no; no] */
static bool is_alone(void) {
  uint32_t alone = 1; /* itself */
  return __atomic_compare_exchange_n(&users, &alone, 1 | RESTARTING, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* [fiber; no; no] */
static void restarted(void) { __atomic_and_fetch(&users, ~RESTARTING, __ATOMIC_RELEASE); }

/* Whether a restart has to wait for other requests; if not, it is under way. [fiber; no; no] */
static bool waits_for_users(void) {
  if (is_alone()) {
    __atomic_store_n(&waits, 0, __ATOMIC_RELEASE);
    return false;
  }
  ssphp_current()->left_out = 1;
  return true;
}

/* opcache's fcntl(), with a lock always. [fiber, or PHP's thread; no; no] */
int ssphp_opcache_fcntl(int fd, int command, ...);
int ssphp_opcache_fcntl(int fd, int command, ...) {
  (void)fd;
  va_list list;
  va_start(list, command);
  struct flock *lock = va_arg(list, struct flock *);
  va_end(list);
  if (command == F_GETLK) {
    /* l_pid stays -1: there is no process to kill. */
    lock->l_type = lock->l_start == USERS && waits_for_users() ? F_RDLCK : F_UNLCK;
  } else if (lock->l_start == RESTART && lock->l_type == F_UNLCK) {
    restarted();
  }
  return 0;
}

/* What was being written is half done; but readers are used to that, and a restart does away with it. Until then nobody writes.
   (If it was the restart itself that faulted, opcache stays off.) */
void ssphp_opcache_lost(void) {
  if (tsrm_get_ls_cache() == NULL || !writes()) return;
  restarted();
  zend_accel_schedule_restart(ACCEL_RESTART_OOM);
  zend_shared_alloc_unlock();
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
