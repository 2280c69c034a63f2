/* A library that is opened at run time and installs a signal handler as any C library might. */
#include <signal.h>
#include <string.h>

int loaded_registers(int signo, void (*handler)(int, siginfo_t *, void *));

int loaded_registers(int signo, void (*handler)(int, siginfo_t *, void *)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  return sigaction(signo, &action, NULL);
}
