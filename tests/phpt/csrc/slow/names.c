/*
 * A C library whose names take half a second, loaded before the real one: "7.slow" has the address 10.0.0.7, and the other way
 * round; what is asked for all other names goes on. What it waits in is a system call that nobody can catch.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <resolv.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The number of such a name, after half a second; 0: another name. */
static unsigned slow_number(const char *name) {
  unsigned number;
  char rest[8];
  if (sscanf(name, "%3u%7s", &number, rest) != 2 || strcmp(rest, ".slow") != 0) return 0;
  struct timespec half = {0, 500000000};
  syscall(SYS_nanosleep, &half, NULL);
  return number;
}

int gethostbyname_r(const char *name, struct hostent *entry, char *bytes, size_t size, struct hostent **result, int *herror) {
  struct {
    char *aliases[1], *addresses[2];
    unsigned char address[4];
  } *answer = (void *)bytes;
  unsigned number = slow_number(name);
  if (!number) return NEXT(gethostbyname_r)(name, entry, bytes, size, result, herror);
  if (size < sizeof *answer + strlen(name) + 1) return ERANGE;
  memcpy(answer->address, (unsigned char[]){10, 0, 0, (unsigned char)number}, 4);
  answer->aliases[0] = answer->addresses[1] = NULL;
  answer->addresses[0] = (char *)answer->address;
  *entry = (struct hostent){strcpy((char *)(answer + 1), name), answer->aliases, AF_INET, 4, answer->addresses};
  *result = entry;
  return 0;
}

int getnameinfo(const struct sockaddr *address, socklen_t size, char *host, socklen_t host_size, char *service,
                socklen_t service_size, int flags) {
  uint32_t number = ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) - 0x0a000000;
  char name[16];
  snprintf(name, sizeof name, "%u.slow", number);
  if (flags & NI_NUMERICHOST || !host || number > 255 || !slow_number(name))
    return NEXT(getnameinfo)(address, size, host, host_size, service, service_size, flags);
  return snprintf(host, host_size, "%s", name) < (int)host_size ? 0 : EAI_OVERFLOW;
}

/* One record: an A, or an MX that names the host itself. */
int res_nsearch(res_state state, const char *name, int class, int type, unsigned char *answer, int room) {
  unsigned number = slow_number(name);
  if (!number || room < 512) return NEXT(res_nsearch)(state, name, class, type, answer, room);
  unsigned char *at = answer;
  at = mempcpy(at, (unsigned char[]){0, 1, 0x84, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, 12);
  const char *dot = strchr(name, '.');
  *at++ = (unsigned char)(dot - name);
  at = mempcpy(at, name, (size_t)(dot - name));
  at = mempcpy(at, "\4slow\0\0\0\0\1", 10);
  at[-3] = (unsigned char)type;
  at = mempcpy(at, (unsigned char[]){0xc0, 12, 0, (unsigned char)type, 0, 1, 0, 0, 0, 60, 0, 4}, 12);
  if (type == ns_t_mx)
    at = mempcpy(at, (unsigned char[]){0, (unsigned char)number, 0xc0, 12}, 4);
  else
    at = mempcpy(at, (unsigned char[]){10, 0, 0, (unsigned char)number}, 4);
  return (int)(at - answer);
}
