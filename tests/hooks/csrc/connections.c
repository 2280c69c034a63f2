/* connect, accept. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "case.h"

static int listener(struct sockaddr_in *address, int backlog) {
  socklen_t size = sizeof *address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  if (bind(fd, (struct sockaddr *)address, size) || listen(fd, backlog)) return -1;
  return getsockname(fd, (struct sockaddr *)address, &size) ? -1 : fd;
}

int case_accept(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  struct sockaddr_in address, peer;
  socklen_t size = sizeof peer;
  int fd = listener(&address, 10), got = -1;
  CHECK(fd >= 0);
  for (int which = 0; which < 2; which++) {
    later l = {.what = LATER_CONNECT, .address = &address, .address_size = sizeof address};
    later_start(&l);
    errno = 77;
    WAITED(got = which ? accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
                       : accept(fd, (struct sockaddr *)&peer, &size));
    CHECK(got >= 0 && errno == 77);
    CHECK(!(fcntl(got, F_GETFL) & O_NONBLOCK) == !which);
    if (!which) CHECK(size == sizeof peer && peer.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    later_join(&l);
    close(got), close((int)l.done);
  }
  struct timeval limit = {0, 60000};
  CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  WAITED(FAILS(accept(fd, NULL, NULL), EAGAIN));
  CHECK(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
  close(fd);
  FAILS(accept(fd, NULL, NULL), EBADF);
  fd = socket(AF_INET, SOCK_DGRAM, 0);
  FAILS(accept(fd, NULL, NULL), EOPNOTSUPP);
  close(fd);
  fd = socket(AF_INET, SOCK_STREAM, 0);
  FAILS(accept(fd, NULL, NULL), EINVAL);
  close(fd);
  return case_done(result, 0);
}

int case_connect(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  struct sockaddr_in address;
  int server = listener(&address, 0);
  CHECK(server >= 0);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  errno = 77;
  CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && errno == 77);
  CHECK(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
  FAILS(connect(fd, (struct sockaddr *)&address, sizeof address), EISCONN);
  /* The queue is full now, so that nobody answers the next one: its time is over first. */
  int more[8], n = 0;
  struct timeval limit = {0, 60000};
  for (n = 0; n < 8; n++) {
    more[n] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(setsockopt(more[n], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
    unsigned long before = ticks;
    int64_t begun = now_ms();
    if (connect(more[n], (struct sockaddr *)&address, sizeof address) == 0) continue;
    CHECK(errno == EINPROGRESS && now_ms() - begun >= 60 && ticks - before >= 1);
    break;
  }
  CHECK(n < 8);
  /* Room is made: the kernel tries again by itself, within seconds, and the same call goes on waiting for it. */
  limit = (struct timeval){20, 0};
  CHECK(setsockopt(more[n], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
  later l = {.what = LATER_ACCEPT, .fd = server};
  later_start(&l);
  WAITED(CHECK(connect(more[n], (struct sockaddr *)&address, sizeof address) == 0));
  later_join(&l);
  close((int)l.done);
  for (int i = 0; i <= n; i++) close(more[i]);
  close(fd), close(server);
  /* Nobody listens any more. */
  fd = socket(AF_INET, SOCK_STREAM, 0);
  FAILS(connect(fd, (struct sockaddr *)&address, sizeof address), ECONNREFUSED);
  CHECK(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
  close(fd);
  FAILS(connect(fd, (struct sockaddr *)&address, sizeof address), EBADF);
  fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  int failed = connect(fd, (struct sockaddr *)&address, sizeof address);
  CHECK(failed == -1 && (errno == EINPROGRESS || errno == ECONNREFUSED));
  CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
  close(fd);
  return case_done(result, 0);
}

/* A local server with a full queue. */
int case_connect_local(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  socklen_t size = sizeof address;
  int server = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(bind(server, (struct sockaddr *)&address, sizeof address.sun_family) == 0 && listen(server, 0) == 0);
  CHECK(getsockname(server, (struct sockaddr *)&address, &size) == 0);
  int first = socket(AF_UNIX, SOCK_STREAM, 0), second = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(connect(first, (struct sockaddr *)&address, size) == 0);
  struct timeval limit = {0, 60000};
  CHECK(setsockopt(second, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
  WAITED(FAILS(connect(second, (struct sockaddr *)&address, size), EAGAIN));
  limit = (struct timeval){0, 0};
  CHECK(setsockopt(second, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
  later l = {.what = LATER_ACCEPT, .fd = server};
  later_start(&l);
  WAITED(CHECK(connect(second, (struct sockaddr *)&address, size) == 0));
  later_join(&l);
  close(first), close(second), close(server), close((int)l.done);
  return case_done(result, 0);
}
