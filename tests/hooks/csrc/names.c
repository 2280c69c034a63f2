/* getaddrinfo, getnameinfo, gethostbyname_r, and res_nsearch with a name server of our own that takes its time. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>

#include "case.h"

int case_names(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *list = NULL;
  errno = 77;
  CHECK(getaddrinfo("localhost", "80", &hints, &list) == 0 && errno == 77);
  CHECK(list && list->ai_family == AF_INET && list->ai_addrlen == sizeof(struct sockaddr_in));
  CHECK(((struct sockaddr_in *)list->ai_addr)->sin_port == htons(80));
  CHECK(((struct sockaddr_in *)list->ai_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  freeaddrinfo(list);
  CHECK(getaddrinfo("127.0.0.1", NULL, NULL, &list) == 0 && list);
  freeaddrinfo(list);
  CHECK(getaddrinfo("127.0.0.1", "no such service", &hints, &list) == EAI_SERVICE);
  CHECK(getaddrinfo(NULL, NULL, &hints, &list) == EAI_NONAME);
  hints.ai_flags = AI_NUMERICHOST;
  CHECK(getaddrinfo("localhost", "80", &hints, &list) == EAI_NONAME);
  return case_done(result, 0);
}

int case_host_names(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  const struct sockaddr *home = (const struct sockaddr *)&address;
  char host[NI_MAXHOST], port[NI_MAXSERV], few[3];
  errno = 77;
  CHECK(getnameinfo(home, sizeof address, host, sizeof host, port, sizeof port, NI_NUMERICSERV) == 0 && errno == 77);
  CHECK(strcmp(host, "localhost") == 0 && strcmp(port, "80") == 0);
  CHECK(getnameinfo(home, sizeof address, few, sizeof few, NULL, 0, 0) == EAI_OVERFLOW);
  CHECK(getnameinfo(home, 3, host, sizeof host, NULL, 0, 0) == EAI_FAMILY);
  CHECK(getnameinfo(home, sizeof address, host, sizeof host, NULL, 0, NI_NUMERICHOST) == 0);
  CHECK(strcmp(host, "127.0.0.1") == 0);
  /* The answer is where the caller wanted it, whatever its place within a line; what is too long for it is said so. */
  char bytes[1032];
  for (int at = 0; at < 24; at += 3) {
    struct hostent entry, *found = NULL;
    errno = 77;
    int error = 0;
    CHECK(gethostbyname_r("localhost", &entry, bytes + at, 1000, &found, &error) == 0);
    CHECK(found == &entry && entry.h_addrtype == AF_INET && entry.h_length == 4 && errno == 77);
    CHECK(entry.h_name >= bytes + at && entry.h_name < bytes + at + 1000 && strcmp(entry.h_name, "localhost") == 0);
    CHECK((char *)entry.h_addr_list >= bytes + at && (char *)entry.h_addr_list < bytes + at + 1000);
    CHECK(*(in_addr_t *)entry.h_addr_list[0] == htonl(INADDR_LOOPBACK));
    for (char **alias = entry.h_aliases; *alias; alias++) CHECK(*alias >= bytes + at && *alias < bytes + at + 1000);
    CHECK(gethostbyname_r("localhost", &entry, bytes + at, 8, &found, &error) == ERANGE && !found);
    CHECK(gethostbyname_r("127.0.0.1", &entry, bytes + at, 1000, &found, &error) == 0 && found == &entry);
  }
  return case_done(result, 0);
}

/* A name server for one question: answers after a while, with 192.0.2.7. [thread] */
static void *serve(void *argument) {
  int fd = *(int *)argument;
  unsigned char message[512];
  struct sockaddr_in from;
  socklen_t size = sizeof from;
  ssize_t got = recvfrom(fd, message, sizeof message - 16, 0, (struct sockaddr *)&from, &size);
  if (got < 12) return NULL;
  usleep(40000);
  /* A name that is the question's, A, IN, a minute, four bytes. What came after the question is left out. */
  static const unsigned char answer[16] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7};
  ssize_t end = 12;
  while (end < got && message[end]) end += message[end] + 1;
  end += 5;
  message[2] |= 0x84, message[3] = 0x80;
  message[6] = 0, message[7] = 1; /* answers */
  memset(message + 8, 0, 4);
  memcpy(message + end, answer, sizeof answer);
  sendto(fd, message, (size_t)end + sizeof answer, 0, (struct sockaddr *)&from, size);
  return NULL;
}

int case_records(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  pthread_t server;
  CHECK(bind(fd, (struct sockaddr *)&address, size) == 0 && getsockname(fd, (struct sockaddr *)&address, &size) == 0);
  CHECK(pthread_create(&server, NULL, serve, &fd) == 0);
  struct __res_state state;
  memset(&state, 0, sizeof state);
  CHECK(res_ninit(&state) == 0);
  state.nscount = 1;
  state.nsaddr_list[0] = address;
  unsigned char answer[512];
  int length = -1;
  WAITED(length = res_nsearch(&state, "example.test.", ns_c_in, ns_t_a, answer, sizeof answer));
  CHECK(length > 16 && memcmp(answer + length - 4, "\xc0\0\2\7", 4) == 0);
  pthread_join(server, NULL);
  close(fd);
  res_nclose(&state);
  return case_done(result, 0);
}
