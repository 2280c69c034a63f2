/* flock and waitpid. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "case.h"

static void *unlock_later(void *fd) {
  usleep(40000);
  flock(*(int *)fd, LOCK_UN);
  return NULL;
}

/* A lock that somebody else gives back after a while. */
int case_flock(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  char name[] = "/tmp/sidestack-flock-XXXXXX";
  int one = mkstemp(name), other = open(name, O_RDWR);
  CHECK(one >= 0 && other >= 0 && unlink(name) == 0);
  unsigned long before = ticks;
  CHECK(flock(one, LOCK_EX) == 0);
  FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
  FAILS(flock(-1, LOCK_EX), EBADF);
  DID_NOT_WAIT(before);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, unlock_later, &one) == 0);
  errno = 123;
  WAITED(CHECK(flock(other, LOCK_EX) == 0));
  CHECK(errno == 123);
  FAILS(flock(one, LOCK_SH | LOCK_NB), EWOULDBLOCK);
  pthread_join(thread, NULL);
  close(one), close(other);
  return case_done(result, 0);
}

/* A child that takes its time, and one that has ended. */
int case_waitpid(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int status = 0;
  pid_t child = fork();
  if (child == 0) {
    usleep(40000);
    _exit(7);
  }
  CHECK(child > 0 && waitpid(child, &status, WNOHANG) == 0);
  errno = 123;
  WAITED(CHECK(waitpid(child, &status, 0) == child));
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7 && errno == 123);
  FAILS(waitpid(child, &status, 0), ECHILD);
  return case_done(result, 0);
}
