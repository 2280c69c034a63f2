/* waitpid: a child that takes its time, and one that has ended. */
#include <sys/wait.h>

#include "case.h"

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
