/* poll, select, epoll, and the sleeps. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "case.h"

int case_poll(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int fds[2], other[2];
  char byte;
  CHECK(pipe2(fds, O_NONBLOCK) == 0 && pipe(other) == 0);
  struct pollfd set[4] = {{fds[0], POLLIN, 9}, {other[0], POLLIN, 9}, {-1, POLLIN, 9}, {other[0], 0, 9}};
  later l = {.what = LATER_WRITE, .fd = fds[1], .size = 1};
  later_start(&l);
  errno = 77;
  WAITED(CHECK(poll(set, 4, -1) == 1));
  CHECK(set[0].revents == POLLIN && !set[1].revents && !set[2].revents && !set[3].revents && errno == 77);
  later_join(&l);
  CHECK(read(fds[0], &byte, 1) == 1);
  int64_t begun = now_ms();
  WAITED(CHECK(poll(set, 2, 50) == 0));
  CHECK(now_ms() - begun >= 50 && !set[0].revents);
  begun = now_ms();
  WAITED(CHECK(poll(NULL, 0, 50) == 0));
  CHECK(now_ms() - begun >= 50);
  begun = now_ms();
  struct timespec some = {0, 50000000};
  WAITED(CHECK(ppoll(set, 2, &some, NULL) == 0));
  CHECK(now_ms() - begun >= 50 && some.tv_nsec == 50000000);
  unsigned long before = ticks;
  CHECK(poll(set, 2, 0) == 0);
  some = (struct timespec){-1, 0};
  FAILS(ppoll(set, 2, &some, NULL), EINVAL);
  struct pollfd *volatile nowhere = NULL;
  FAILS(ppoll(nowhere, 1, NULL, NULL), EFAULT);
  struct pollfd out = {fds[1], POLLOUT, 0};
  CHECK(poll(&out, 1, -1) == 1 && out.revents == POLLOUT);
  int file = open("/proc/self/exe", O_RDONLY);
  struct pollfd always = {file, POLLIN, 0};
  CHECK(poll(&always, 1, -1) == 1 && always.revents == POLLIN);
  DID_NOT_WAIT(before);
  /* A file that is never ready for nothing at all: only the time ends it. */
  always.events = 0;
  WAITED(CHECK(poll(&always, 1, 50) == 0));
  close(file);
  always = (struct pollfd){1 << 20, POLLIN, 0};
  CHECK(poll(&always, 1, -1) == 1 && always.revents == POLLNVAL);
  l = (later){.what = LATER_CLOSE, .fd = fds[1]};
  later_start(&l);
  WAITED(CHECK(poll(set, 2, -1) == 1));
  CHECK(set[0].revents == POLLHUP);
  later_join(&l);
  /* A half-closed stream wanted for POLLRDHUP only, with data there: POLLIN must not wake it for nothing. */
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[1], &byte, 1) == 1);
  struct pollfd half = {pair[0], POLLRDHUP, 0};
  WAITED(CHECK(poll(&half, 1, 50) == 0));
  l = (later){.what = LATER_CLOSE, .fd = pair[1]};
  later_start(&l);
  WAITED(CHECK(poll(&half, 1, -1) == 1));
  CHECK(half.revents & POLLRDHUP);
  later_join(&l);
  close(pair[0]), close(fds[0]), close(other[0]), close(other[1]);
  return case_done(result, 0);
}

int case_select(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int fds[2], other[2];
  CHECK(pipe(fds) == 0 && pipe(other) == 0);
  int most = (other[1] > fds[1] ? other[1] : fds[1]) + 1;
  fd_set in, out;
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_SET(fds[0], &in);
  FD_SET(other[0], &in);
  later l = {.what = LATER_WRITE, .fd = fds[1], .size = 1};
  later_start(&l);
  struct timeval limit = {5, 0};
  WAITED(CHECK(select(most, &in, NULL, NULL, &limit) == 1));
  CHECK(FD_ISSET(fds[0], &in) && !FD_ISSET(other[0], &in));
  CHECK(limit.tv_sec == 4 && limit.tv_usec > 0); /* what is left */
  later_join(&l);
  FD_ZERO(&in);
  FD_SET(other[0], &in);
  limit = (struct timeval){0, 50000};
  int64_t begun = now_ms();
  WAITED(CHECK(select(most, &in, NULL, NULL, &limit) == 0));
  CHECK(now_ms() - begun >= 50 && !FD_ISSET(other[0], &in) && limit.tv_sec == 0 && limit.tv_usec == 0);
  begun = now_ms();
  limit = (struct timeval){0, 50000};
  WAITED(CHECK(select(0, NULL, NULL, NULL, &limit) == 0));
  CHECK(now_ms() - begun >= 50);
  struct timespec some = {0, 50000000};
  FD_SET(other[0], &in);
  WAITED(CHECK(pselect(most, &in, NULL, NULL, &some, NULL) == 0));
  FD_SET(other[0], &in);
  FD_SET(other[1], &out);
  CHECK(select(most, &in, &out, NULL, NULL) == 1);
  CHECK(!FD_ISSET(other[0], &in) && FD_ISSET(other[1], &out));
  limit = (struct timeval){-1, 0};
  FAILS(select(most, NULL, NULL, NULL, &limit), EINVAL);
  FAILS(select(-1, NULL, NULL, NULL, NULL), EINVAL);
  /* A hang-up in the set of exceptions is none: only the time ends it. */
  close(other[1]);
  FD_ZERO(&in);
  FD_SET(other[0], &in);
  limit = (struct timeval){0, 50000};
  WAITED(CHECK(select(most, NULL, NULL, &in, &limit) == 0));
  close(other[0]);
  FD_ZERO(&in);
  FD_SET(other[0], &in);
  FAILS(select(most, &in, NULL, NULL, NULL), EBADF);
  close(fds[0]), close(fds[1]);
  return case_done(result, 0);
}

int case_epoll(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int fds[2], epoll = epoll_create1(0);
  char byte;
  CHECK(epoll >= 0 && pipe(fds) == 0);
  struct epoll_event event = {EPOLLIN | EPOLLET, {.u64 = 42}}, news[4];
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event) == 0);
  for (int i = 0; i < 2; i++) {
    later l = {.what = LATER_WRITE, .fd = fds[1], .size = 1};
    later_start(&l);
    memset(news, 0, sizeof news);
    WAITED(CHECK((i ? epoll_wait(epoll, news, 4, -1) : epoll_pwait(epoll, news, 4, 5000, NULL)) == 1));
    CHECK(news[0].data.u64 == 42 && news[0].events == EPOLLIN);
    later_join(&l);
    CHECK(read(fds[0], &byte, 1) == 1);
  }
  int64_t begun = now_ms();
  WAITED(CHECK(epoll_wait(epoll, news, 4, 50) == 0));
  CHECK(now_ms() - begun >= 50);
  FAILS(epoll_wait(epoll, news, 0, -1), EINVAL);
  FAILS(epoll_wait(fds[0], news, 1, -1), EINVAL);
  close(epoll);
  FAILS(epoll_wait(epoll, news, 1, -1), EBADF);
  close(fds[0]), close(fds[1]);
  return case_done(result, 0);
}

int case_sleep(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  int64_t begun = now_ms();
  errno = 77;
  WAITED(CHECK(usleep(50000) == 0));
  CHECK(now_ms() - begun >= 50 && errno == 77);
  begun = now_ms();
  struct timespec some = {0, 50000000}, left = {7, 7};
  WAITED(CHECK(nanosleep(&some, &left) == 0));
  CHECK(now_ms() - begun >= 50 && left.tv_sec == 7);
  begun = now_ms();
  WAITED(CHECK(clock_nanosleep(CLOCK_REALTIME, 0, &some, NULL) == 0));
  CHECK(now_ms() - begun >= 50);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 1;
  begun = now_ms();
  WAITED(CHECK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL) == 0));
  CHECK(now_ms() - begun >= 999);
  begun = now_ms();
  CHECK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL) == 0); /* it is past */
  CHECK(now_ms() - begun < 500);
  begun = now_ms();
  WAITED(CHECK(sleep(1) == 0));
  CHECK(now_ms() - begun >= 1000);
  some.tv_nsec = 1000000000;
  FAILS(nanosleep(&some, NULL), EINVAL);
  CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &some, NULL) == EINVAL);
  CHECK(sleep(0) == 0 && usleep(0) == 0);
  return case_done(result, 0);
}
