/* waitpid and pclose: a child that takes its time, and one that has ended. */
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

int case_pclose(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int status = 0;
  FILE *file = popen("exec >&-; sleep 0.05; exit 7", "r");
  CHECK(file != NULL);
  errno = 123;
  WAITED(status = pclose(file));
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7 && errno == 123);
  CHECK((file = popen("exit 3", "r")) != NULL && WEXITSTATUS(pclose(file)) == 3);
  return case_done(result, 0);
}

/* Its deadline passes while it waits. */
int fiber_pclose(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  FILE *file = popen("exec >&-; sleep 0.2", "r");
  CHECK(file != NULL);
  FAILS(pclose(file), ECANCELED);
  return case_done(result, 0);
}
