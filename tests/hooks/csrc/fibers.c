/* Guest functions for the tests with more than one fiber, and for those that fibers have no part in. */
#include <fcntl.h>
#include <poll.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "case.h"

/* args: a descriptor. Reads one byte and returns it; 1000 + errno if that failed; 256 at the end of the file. */
int fiber_read(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(1);
  unsigned char byte;
  ssize_t got = read((int)args[0].as.integer, &byte, 1);
  return case_done(result, got == 1 ? byte : got == 0 ? 256 : 1000 + errno);
}

/* args: a descriptor. poll for reading, for ever: revents. */
int fiber_poll(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(1);
  struct pollfd one = {(int)args[0].as.integer, POLLIN, 0};
  int ready = poll(&one, 1, -1);
  return case_done(result, ready == 1 ? one.revents : 1000 + errno);
}

/* args: a descriptor, a number of bytes. Writes the pattern. */
int fiber_write(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(2);
  size_t size = (size_t)args[1].as.integer;
  unsigned char *bytes = malloc(size);
  CHECK(bytes);
  for (size_t i = 0; i < size; i++) bytes[i] = pattern(i);
  ssize_t sent = write((int)args[0].as.integer, bytes, size);
  free(bytes);
  return case_done(result, sent < 0 ? -errno : sent);
}

/* args: a descriptor. Closes it. */
int fiber_close(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(1);
  return case_done(result, close((int)args[0].as.integer));
}

/* args: what to put there, and the descriptor to replace. */
int fiber_dup2(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(2);
  return case_done(result, dup2((int)args[0].as.integer, (int)args[1].as.integer));
}

/* What the last cancelled fiber saw. */
static int seen[8];
void cancelled_seen(int out[8]) { memcpy(out, seen, sizeof seen); }

/* args: a descriptor that nobody writes to, one that is ready for writing, and which call waits first. Waits until it is
   cancelled, and goes on trying. */
int fiber_cancelled(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(3);
  int fd = (int)args[0].as.integer, ready = (int)args[1].as.integer;
  char byte = 'x';
  memset(seen, -1, sizeof seen);
  errno = 0;
  switch (args[2].as.integer) {
  case 0: seen[0] = read(fd, &byte, 1) == -1 ? errno : 0; break;
  case 1: seen[0] = poll(&(struct pollfd){fd, POLLIN, 0}, 1, -1) == -1 ? errno : 0; break;
  case 2: seen[0] = sleep(1000) > 990 ? errno : 0; break;
  case 3: seen[0] = clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){1000, 0}, NULL); break;
  }
  seen[1] = read(fd, &byte, 1) == -1 ? errno : 0;
  seen[2] = usleep(1000) == -1 ? errno : 0;
  seen[3] = poll(&(struct pollfd){fd, POLLIN, 0}, 1, 100) == -1 ? errno : 0;
  struct addrinfo *list = NULL;
  seen[4] = getaddrinfo("localhost", "80", NULL, &list) == EAI_SYSTEM ? errno : 0;
  if (list) freeaddrinfo(list);
  /* Ready at once: all of these work. */
  seen[5] = write(ready, &byte, 1) == 1 ? 0 : errno;
  seen[6] = poll(&(struct pollfd){fd, POLLIN, 0}, 1, 0) == 0 ? 0 : errno;
  seen[7] = getaddrinfo("127.0.0.1", "80", NULL, &list) == 0 ? 0 : errno;
  if (!seen[7]) freeaddrinfo(list);
  return case_done(result, 0);
}

/* args: the tests' pipe. A child that fork() made has no interpreter: its calls block it, and nobody else. */
int fiber_fork(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int to_child[2], from_child[2];
  CHECK(pipe(to_child) == 0 && pipe(from_child) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    char byte;
    if (usleep(1000) == 0 && read(to_child[0], &byte, 1) == 1 && write(from_child[1], &byte, 1) == 1) _exit(42);
    _exit(1);
  }
  later l = {.what = LATER_WRITE, .fd = to_child[1], .size = 1};
  later_start(&l);
  unsigned char byte;
  WAITED(CHECK(read(from_child[0], &byte, 1) == 1 && byte == pattern(0)));
  later_join(&l);
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 42);
  close(to_child[0]), close(to_child[1]), close(from_child[0]), close(from_child[1]);
  return case_done(result, 0);
}

/* For host code and other threads: read one byte that comes after 40 ms. Milliseconds that it took, or -1. [any thread] */
int64_t blocking_read(void) {
  int fds[2];
  unsigned char byte = 9;
  if (pipe(fds)) return -1;
  later l = {.what = LATER_WRITE, .fd = fds[1], .size = 1};
  int64_t begun = now_ms();
  later_start(&l);
  ssize_t got = read(fds[0], &byte, 1);
  int64_t took = now_ms() - begun;
  later_join(&l);
  close(fds[0]), close(fds[1]);
  return got == 1 && byte == pattern(0) ? took : -1;
}

/* The same as a guest: whether others ran meanwhile. */
int fiber_blocking_read(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  unsigned long before = ticks;
  CHECK(blocking_read() >= 30);
  return case_done(result, (int64_t)(ticks - before));
}

/* Host code reads, on this thread: how often others ran meanwhile, which they cannot. */
int fiber_host_read(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int64_t read = ss_function_id("t.read");
  CHECK(read >= 0);
  ss_call call = {0};
  unsigned long before = ticks;
  int status = ss_host_call((uint32_t)read, NULL, 0, &call);
  unsigned long after = ticks;
  int64_t took = status == SS_OK ? call.values[0].as.integer : -1;
  ss_host_end(&call);
  CHECK(took >= 30);
  return case_done(result, (int64_t)(after - before));
}

static void *thread_read(void *out) {
  *(int64_t *)out = blocking_read();
  return NULL;
}

/* A thread that a guest starts is not on a fiber. */
int fiber_thread(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  pthread_t thread;
  int64_t took = 0;
  CHECK(pthread_create(&thread, NULL, thread_read, &took) == 0);
  WAITED(usleep(100000));
  CHECK(pthread_join(thread, NULL) == 0 && took >= 30);
  return case_done(result, 0);
}

/* Where nothing can be suspended: one of each kind, done by the C library itself. */
int case_blocking(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int fds[2], pair[2];
  char bytes[1 << 12] = {0};
  int64_t begun = now_ms();
  CHECK(usleep(20000) == 0);
  CHECK(nanosleep(&(struct timespec){0, 20000000}, NULL) == 0);
  CHECK(poll(NULL, 0, 20) == 0);
  CHECK(now_ms() - begun >= 60);
  struct addrinfo *list = NULL;
  CHECK(getaddrinfo("localhost", "80", NULL, &list) == 0);
  freeaddrinfo(list);
  CHECK(pipe(fds) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  later l = {.what = LATER_DRAIN, .fd = fds[0], .size = 100 * sizeof bytes};
  later_start(&l);
  for (int i = 0; i < 100; i++) CHECK(write(fds[1], bytes, sizeof bytes) == sizeof bytes);
  later_join(&l);
  l = (later){.what = LATER_DRAIN, .fd = pair[0], .size = 100 * sizeof bytes};
  later_start(&l);
  for (int i = 0; i < 100; i++) CHECK(write(pair[1], bytes, sizeof bytes) == sizeof bytes);
  later_join(&l);
  l = (later){.what = LATER_WRITE, .fd = pair[0], .size = 10};
  later_start(&l);
  CHECK(recv(pair[1], bytes, 10, 0) == 10);
  later_join(&l);
  close(fds[0]), close(fds[1]), close(pair[0]), close(pair[1]);
  return case_done(result, 0);
}
