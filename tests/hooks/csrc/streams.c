/* Pipes and connected sockets: read, write and their kin. */
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <termios.h>

#include "case.h"

static int is_pattern(const unsigned char *bytes, size_t from, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (bytes[i] != pattern(from + i)) return 0;
  return 1;
}

static unsigned char *data(size_t size) {
  unsigned char *bytes = malloc(size);
  for (size_t i = 0; bytes && i < size; i++) bytes[i] = pattern(i);
  return bytes;
}

int case_pipe_read(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int fds[2];
  unsigned char bytes[64];
  CHECK(pipe(fds) == 0);
  CHECK(read(fds[0], bytes, 0) == 0);
  later l = {.what = LATER_WRITE, .fd = fds[1], .size = 10};
  later_start(&l);
  errno = 77;
  WAITED(CHECK(read(fds[0], bytes, sizeof bytes) == 10));
  CHECK(errno == 77);
  CHECK(is_pattern(bytes, 0, 10));
  later_join(&l);
  /* readv, and a thread that writes in two steps: a read returns what is there. */
  l = (later){.what = LATER_WRITE, .fd = fds[1], .size = 20, .steps = 2};
  later_start(&l);
  struct iovec parts[2] = {{bytes, 4}, {bytes + 4, 60}};
  WAITED(CHECK(readv(fds[0], parts, 2) == 10));
  WAITED(CHECK(readv(fds[0], parts, 2) == 10));
  CHECK(is_pattern(bytes, 10, 10));
  later_join(&l);
  l = (later){.what = LATER_CLOSE, .fd = fds[1]};
  later_start(&l);
  WAITED(CHECK(read(fds[0], bytes, sizeof bytes) == 0));
  later_join(&l);
  close(fds[0]);
  FAILS(read(fds[0], bytes, 1), EBADF);
  FAILS(write(fds[0], bytes, 1), EBADF);
  return case_done(result, 0);
}

int case_pipe_write(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  enum { SIZE = 1 << 20 };
  unsigned char *bytes = data(SIZE);
  int fds[2];
  CHECK(bytes && pipe(fds) == 0);
  later l = {.what = LATER_DRAIN, .fd = fds[0], .size = SIZE};
  later_start(&l);
  WAITED(CHECK(write(fds[1], bytes, SIZE) == SIZE));
  later_join(&l);
  CHECK(l.done == SIZE && l.wrong == 0);
  l = (later){.what = LATER_DRAIN, .fd = fds[0], .size = SIZE};
  later_start(&l);
  struct iovec parts[4] = {{bytes, 300001}, {bytes, 0}, {bytes + 300001, 5}, {bytes + 300006, SIZE - 300006}};
  WAITED(CHECK(writev(fds[1], parts, 4) == SIZE));
  later_join(&l);
  CHECK(l.done == SIZE && l.wrong == 0);
  close(fds[0]);
  signal(SIGPIPE, SIG_IGN);
  FAILS(write(fds[1], bytes, 10), EPIPE);
  close(fds[1]);
  free(bytes);
  return case_done(result, 0);
}

int case_socket_read(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int fds[2];
  unsigned char bytes[64];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  struct iovec parts[2] = {{bytes, 4}, {bytes + 4, 60}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
  struct sockaddr_storage from;
  socklen_t from_size = sizeof from;
  for (int which = 0; which < 5; which++) {
    later l = {.what = LATER_WRITE, .fd = fds[1], .size = 10};
    later_start(&l);
    ssize_t got = -1;
    errno = 77;
    WAITED({
      switch (which) {
      case 0: got = read(fds[0], bytes, sizeof bytes); break;
      case 1: got = readv(fds[0], parts, 2); break;
      case 2: got = recv(fds[0], bytes, sizeof bytes, 0); break;
      case 3: got = recvfrom(fds[0], bytes, sizeof bytes, 0, (struct sockaddr *)&from, &from_size); break;
      case 4: got = recvmsg(fds[0], &message, 0); break;
      }
    });
    CHECK(got == 10 && errno == 77);
    CHECK(is_pattern(bytes, 0, 10));
    later_join(&l);
  }
  /* All of it, in three steps; then all of it without taking it. */
  later l = {.what = LATER_WRITE, .fd = fds[1], .size = 60, .steps = 3};
  later_start(&l);
  WAITED(CHECK(recv(fds[0], bytes, 60, MSG_WAITALL) == 60));
  CHECK(is_pattern(bytes, 0, 60));
  later_join(&l);
  l = (later){.what = LATER_WRITE, .fd = fds[1], .size = 60, .steps = 3};
  later_start(&l);
  parts[1].iov_len = 56;
  memset(bytes, 0, sizeof bytes);
  WAITED(CHECK(recvmsg(fds[0], &message, MSG_WAITALL | MSG_PEEK) == 60));
  CHECK(is_pattern(bytes, 0, 60));
  memset(bytes, 0, sizeof bytes);
  CHECK(recvmsg(fds[0], &message, MSG_WAITALL) == 60);
  CHECK(is_pattern(bytes, 0, 60));
  later_join(&l);
  /* The end comes before all of it. */
  l = (later){.what = LATER_WRITE, .fd = fds[1], .size = 7};
  later_start(&l);
  later_join(&l);
  l = (later){.what = LATER_CLOSE, .fd = fds[1]};
  later_start(&l);
  WAITED(CHECK(recv(fds[0], bytes, 60, MSG_WAITALL) == 7));
  later_join(&l);
  CHECK(recv(fds[0], bytes, 60, 0) == 0);
  close(fds[0]);
  return case_done(result, 0);
}

int case_socket_write(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  enum { SIZE = 4 << 20 };
  unsigned char *bytes = data(SIZE);
  CHECK(bytes);
  struct iovec parts[3] = {{bytes, 100001}, {bytes + 100001, 1}, {bytes + 100002, SIZE - 100002}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
  for (int which = 0; which < 5; which++) {
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    later l = {.what = LATER_DRAIN, .fd = fds[1], .size = SIZE};
    later_start(&l);
    ssize_t sent = -1;
    errno = 77;
    WAITED({
      switch (which) {
      case 0: sent = write(fds[0], bytes, SIZE); break;
      case 1: sent = writev(fds[0], parts, 3); break;
      case 2: sent = send(fds[0], bytes, SIZE, 0); break;
      case 3: sent = sendto(fds[0], bytes, SIZE, 0, NULL, 0); break;
      case 4: sent = sendmsg(fds[0], &message, 0); break;
      }
    });
    CHECK(sent == SIZE && errno == 77);
    later_join(&l);
    CHECK(l.done == SIZE && l.wrong == 0);
    close(fds[0]);
    close(fds[1]);
  }
  free(bytes);
  return case_done(result, 0);
}

/* Datagrams keep their boundaries; an unconnected sender waits although poll says that it could send. */
int case_datagrams(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int fds[2];
  unsigned char bytes[64];
  CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) == 0);
  later l = {.what = LATER_WRITE, .fd = fds[1], .size = 20, .steps = 2};
  later_start(&l);
  WAITED(CHECK(recv(fds[0], bytes, sizeof bytes, MSG_WAITALL) == 10));
  WAITED(CHECK(read(fds[0], bytes, 4) == 4)); /* the rest of it is gone */
  later_join(&l);
  CHECK(send(fds[1], bytes, 0, 0) == 0);
  CHECK(recv(fds[0], bytes, sizeof bytes, 0) == 0);
  struct sockaddr name = {.sa_family = AF_UNIX};
  struct sockaddr_storage self;
  socklen_t size = sizeof self;
  int receiver = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
  CHECK(bind(receiver, &name, sizeof name.sa_family) == 0); /* a name of the kernel's choice */
  CHECK(getsockname(receiver, (struct sockaddr *)&self, &size) == 0);
  int sent = 0;
  while (sendto(sender, bytes, 1, MSG_DONTWAIT, (struct sockaddr *)&self, size) == 1) sent++;
  CHECK(errno == EAGAIN && sent > 0);
  l = (later){.what = LATER_DRAIN, .fd = receiver, .size = 3};
  later_start(&l);
  WAITED(CHECK(sendto(sender, bytes, 1, 0, (struct sockaddr *)&self, size) == 1));
  later_join(&l);
  close(fds[0]), close(fds[1]), close(receiver), close(sender);
  return case_done(result, 0);
}

int case_timeouts(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int fds[2];
  enum { SIZE = 4 << 20 };
  unsigned char *bytes = data(SIZE);
  struct timeval limit = {0, 60000};
  CHECK(bytes && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  CHECK(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  CHECK(setsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
  int64_t begun = now_ms();
  WAITED(FAILS(read(fds[0], bytes, 1), EAGAIN));
  CHECK(now_ms() - begun >= 60);
  begun = now_ms();
  WAITED(FAILS(recvfrom(fds[0], bytes, 1, 0, NULL, NULL), EAGAIN));
  CHECK(now_ms() - begun >= 60);
  /* What fits is sent, and told; the next one has no room at all. */
  ssize_t sent = -1;
  WAITED(sent = write(fds[0], bytes, SIZE));
  CHECK(sent > 0 && sent < SIZE);
  begun = now_ms();
  WAITED(FAILS(send(fds[0], bytes, SIZE, 0), EAGAIN));
  CHECK(now_ms() - begun >= 60);
  close(fds[0]), close(fds[1]);
  free(bytes);
  return case_done(result, 0);
}

int case_nonblocking(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int fds[2];
  char bytes[64] = {0};
  unsigned long before = ticks;
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
  FAILS(read(fds[0], bytes, 1), EAGAIN);
  FAILS(recv(fds[0], bytes, 1, 0), EAGAIN);
  FAILS(accept(fds[0], NULL, NULL), EINVAL);
  ssize_t sent;
  while ((sent = write(fds[0], bytes, sizeof bytes)) > 0) {}
  CHECK(errno == EAGAIN);
  close(fds[0]), close(fds[1]);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  FAILS(recv(fds[0], bytes, 1, MSG_DONTWAIT), EAGAIN);
  close(fds[0]), close(fds[1]);
  CHECK(pipe2(fds, O_NONBLOCK) == 0);
  FAILS(read(fds[0], bytes, 1), EAGAIN);
  while ((sent = write(fds[1], bytes, sizeof bytes)) > 0) {}
  CHECK(errno == EAGAIN);
  close(fds[0]), close(fds[1]);
  int fd = eventfd(0, EFD_NONBLOCK);
  FAILS(read(fd, bytes, 8), EAGAIN);
  close(fd);
  DID_NOT_WAIT(before);
  return case_done(result, 0);
}

/* A regular file, a directory, /dev/null: no waiting, and the kernel's own results. */
int case_files(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  char bytes[64] = "some text";
  unsigned long before = ticks;
  int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
  CHECK(fd >= 0);
  CHECK(write(fd, bytes, 9) == 9 && lseek(fd, 0, SEEK_SET) == 0);
  CHECK(read(fd, bytes, sizeof bytes) == 9);
  CHECK(read(fd, bytes, sizeof bytes) == 0);
  close(fd);
  fd = open("/", O_RDONLY | O_DIRECTORY);
  FAILS(read(fd, bytes, 1), EISDIR);
  FAILS(write(fd, bytes, 1), EBADF);
  close(fd);
  fd = open("/dev/null", O_RDWR);
  CHECK(read(fd, bytes, 1) == 0 && write(fd, bytes, 64) == 64);
  close(fd);
  fd = open("/dev/urandom", O_RDONLY);
  CHECK(read(fd, bytes, sizeof bytes) == 64);
  close(fd);
  DID_NOT_WAIT(before);
  return case_done(result, 0);
}

int case_other_descriptors(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  uint64_t count = 0;
  int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  struct itimerspec once = {{0, 0}, {0, 50000000}};
  CHECK(timerfd_settime(timer, 0, &once, NULL) == 0);
  WAITED(CHECK(read(timer, &count, sizeof count) == 8 && count == 1));
  close(timer);
  int event = eventfd(0, 0);
  later l = {.what = LATER_WRITE, .fd = event, .size = 8};
  later_start(&l);
  WAITED(CHECK(read(event, &count, sizeof count) == 8));
  later_join(&l);
  close(event);
  /* A terminal, key by key. */
  int master, terminal;
  char line[64];
  struct termios mode;
  CHECK(openpty(&master, &terminal, NULL, NULL, NULL) == 0 && tcgetattr(terminal, &mode) == 0);
  mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
  mode.c_cc[VMIN] = 1, mode.c_cc[VTIME] = 0;
  CHECK(tcsetattr(terminal, TCSAFLUSH, &mode) == 0);
  l = (later){.what = LATER_WRITE, .fd = master, .size = 1};
  later_start(&l);
  WAITED(CHECK(read(terminal, line, sizeof line) == 1));
  later_join(&l);
  mode.c_cc[VMIN] = 0;
  CHECK(tcsetattr(terminal, TCSANOW, &mode) == 0);
  CHECK(read(terminal, line, sizeof line) == 0);
  close(master), close(terminal);
  return case_done(result, 0);
}

static volatile sig_atomic_t broken;
static void count_broken(int signo) {
  (void)signo;
  broken++;
}

int case_broken(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  enum { SIZE = 4 << 20 };
  unsigned char *bytes = data(SIZE);
  int fds[2];
  CHECK(bytes && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  signal(SIGPIPE, count_broken);
  broken = 0;
  /* A part is sent, then the other end goes: the part counts, without a signal. */
  later l = {.what = LATER_CLOSE, .fd = fds[1]};
  later_start(&l);
  ssize_t sent = -1;
  WAITED(sent = write(fds[0], bytes, SIZE));
  later_join(&l);
  CHECK(sent > 0 && sent < SIZE && broken == 0);
  FAILS(send(fds[0], bytes, 1, MSG_NOSIGNAL), EPIPE);
  CHECK(broken == 0);
  FAILS(write(fds[0], bytes, 1), EPIPE);
  CHECK(broken == 1);
  signal(SIGPIPE, SIG_IGN);
  close(fds[0]);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  FAILS(recv(fd, bytes, 1, 0), ENOTCONN);
  FAILS(recv(fd, NULL, 0, MSG_OOB), EINVAL);
  close(fd);
  free(bytes);
  return case_done(result, 0);
}

/* A loop of calls that are always ready: it gives way at the end of its slices. */
int case_greedy(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int fds[2];
  char byte = 0;
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  int64_t begun = now_ms();
  unsigned long before = ticks;
  while (now_ms() - begun < 300) CHECK(write(fds[0], &byte, 1) == 1 && read(fds[1], &byte, 1) == 1);
  CHECK(ticks - before >= 1);
  close(fds[0]), close(fds[1]);
  return case_done(result, 0);
}
