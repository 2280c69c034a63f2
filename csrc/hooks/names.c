/* getaddrinfo: on the host's thread pool, since the C library gives no way to wait for it. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "hooks.h"

/* Whether looking it up needs no files. */
static int is_number(const char *service) {
  if (!service) return 1;
  while (isdigit((unsigned char)*service)) service++;
  return *service == '\0';
}

/* [any thread; guests may suspend; no] */
int getaddrinfo(const char *restrict node, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict result) {
  if (!ss_hooks_guest()) return SS_NEXT(getaddrinfo)(node, service, hints, result);
  int before = errno;
  if (is_number(service)) {
    /* A numeric address, or none, needs no resolver. */
    struct addrinfo plain = {0};
    if (hints)
      plain = *hints;
    else
      plain.ai_flags = AI_V4MAPPED | AI_ADDRCONFIG; /* what no hints mean */
    plain.ai_flags |= AI_NUMERICHOST;
    int code = SS_NEXT(getaddrinfo)(node, service, &plain, result);
    if (code != EAI_NONAME || !node || (hints && hints->ai_flags & AI_NUMERICHOST)) return code;
  }
  int64_t function = ss_hooks_function(SS_HOOKS_RESOLVE);
  if (function >= 0) {
    ss_value args[3] = {{SS_INT, 0, {.integer = (int64_t)(intptr_t)node}},
                        {SS_INT, 0, {.integer = (int64_t)(intptr_t)service}},
                        {SS_INT, 0, {.integer = (int64_t)(intptr_t)hints}}};
    ss_call call = {0};
    int status = ss_host_call((uint32_t)function, args, 3, &call);
    if (status == SS_OK) {
      /* The code; then the list, or errno. */
      int code = (int)call.values[0].as.integer;
      int64_t second = call.values[1].as.integer;
      ss_host_end(&call);
      errno = code == EAI_SYSTEM ? (int)second : before;
      if (code == 0) *result = (struct addrinfo *)(intptr_t)second;
      return code;
    }
    if (!ss_hooks_refused(&call, status)) {
      errno = ECANCELED;
      return EAI_SYSTEM;
    }
  }
  errno = before;
  return SS_NEXT(getaddrinfo)(node, service, hints, result);
}
