/* getaddrinfo, getnameinfo, gethostbyname_r: on the thread pool. What needs no resolver is answered at once. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hooks.h"

/* ---- getaddrinfo ---- */

typedef struct addresses {
  ss_work work;
  char *node, *service; /* NULL: none */
  struct addrinfo hints, *list;
  int hinted, code, error;
} addresses;

/* [any thread; no; no] */
static void find_addresses(ss_work *work) {
  addresses *a = (addresses *)work;
  a->code = SS_NEXT(getaddrinfo)(a->node, a->service, a->hinted ? &a->hints : NULL, &a->list);
  a->error = errno;
  if (a->code) a->list = NULL;
}

/* [any thread; no; no] */
static void forget_addresses(ss_work *work) {
  addresses *a = (addresses *)work;
  free(a->node);
  free(a->service);
  if (a->list) freeaddrinfo(a->list);
}

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
  addresses *a = ss_work_new(sizeof *a, find_addresses, forget_addresses);
  if (!a) return EAI_MEMORY;
  int code = EAI_MEMORY;
  if (hints) a->hints = *hints, a->hinted = 1;
  if ((!node || (a->node = strdup(node))) && (!service || (a->service = strdup(service)))) {
    code = EAI_SYSTEM;
    if (ss_hooks_work(&a->work)) {
      code = a->code;
      errno = code == EAI_SYSTEM ? a->error : before;
      if (code == 0) *result = a->list;
      a->list = NULL;
    }
  }
  ss_work_end(&a->work);
  return code;
}

/* ---- getnameinfo ---- */

typedef struct names {
  ss_work work;
  struct sockaddr_storage address;
  socklen_t size;
  char host[NI_MAXHOST], service[NI_MAXSERV];
  socklen_t host_size, service_size; /* as asked for; 0: it is not */
  int flags, code, error;
} names;

/* [any thread; no; no] */
static void find_names(ss_work *work) {
  names *n = (names *)work;
  n->code = SS_NEXT(getnameinfo)((const struct sockaddr *)&n->address, n->size, n->host_size ? n->host : NULL, n->host_size,
                                 n->service_size ? n->service : NULL, n->service_size, n->flags);
  n->error = errno;
}

/* No name is longer than there is room here for. */
static socklen_t room(const char *text, socklen_t size, socklen_t most) { return !text ? 0 : size < most ? size : most; }

/* [any thread; guests may suspend; no] */
int getnameinfo(const struct sockaddr *restrict address, socklen_t size, char *restrict host, socklen_t host_size,
                char *restrict service, socklen_t service_size, int flags) {
  int numeric = (!host || flags & NI_NUMERICHOST) && (!service || flags & NI_NUMERICSERV);
  names *n = NULL;
  if (!numeric && size <= sizeof n->address && ss_hooks_guest()) n = ss_work_new(sizeof *n, find_names, NULL);
  if (!n) return SS_NEXT(getnameinfo)(address, size, host, host_size, service, service_size, flags);
  int before = errno, code = EAI_SYSTEM;
  memcpy(&n->address, address, size);
  n->size = size;
  n->host_size = room(host, host_size, sizeof n->host);
  n->service_size = room(service, service_size, sizeof n->service);
  n->flags = flags;
  if (ss_hooks_work(&n->work)) {
    code = n->code;
    errno = code == EAI_SYSTEM ? n->error : before;
    if (code == 0 && n->host_size) memcpy(host, n->host, strnlen(n->host, n->host_size - 1) + 1);
    if (code == 0 && n->service_size) memcpy(service, n->service, strnlen(n->service, n->service_size - 1) + 1);
  }
  ss_work_end(&n->work);
  return code;
}

/* ---- gethostbyname_r ---- */

typedef struct host {
  ss_work work;
  char *name, *bytes; /* `bytes`: room for the answer, at the same place within a line as the caller's */
  void *memory;
  size_t size;
  struct hostent entry, *found;
  int code, herror;
} host;

/* [any thread; no; no] */
static void find_host(ss_work *work) {
  host *h = (host *)work;
  h->code = SS_NEXT(gethostbyname_r)(h->name, &h->entry, h->bytes, h->size, &h->found, &h->herror);
}

/* [any thread; no; no] */
static void forget_host(ss_work *work) {
  host *h = (host *)work;
  free(h->name);
  free(h->memory);
}

/* What points into our bytes points into the caller's copy. */
static char *moved(const host *h, char *pointer, char *bytes) {
  return pointer >= h->bytes && pointer < h->bytes + h->size ? bytes + (pointer - h->bytes) : pointer;
}

/* A list of such pointers, which ends with NULL, moved in the copy. */
static char **moved_list(const host *h, char **list, char *bytes) {
  char **copy = (char **)moved(h, (char *)list, bytes);
  for (char **at = copy; at && *at; at++) *at = moved(h, *at, bytes);
  return copy;
}

/* [any thread; guests may suspend; no] */
int gethostbyname_r(const char *restrict name, struct hostent *restrict entry, char *restrict bytes, size_t size,
                    struct hostent **restrict result, int *restrict herror) {
  enum { LINE = 16 };
  struct in_addr number;
  host *h = NULL;
  if (!inet_aton(name, &number) && ss_hooks_guest()) h = ss_work_new(sizeof *h, find_host, forget_host);
  if (!h) return SS_NEXT(gethostbyname_r)(name, entry, bytes, size, result, herror);
  int code = ENOMEM;
  *result = NULL;
  *herror = NETDB_INTERNAL;
  if ((h->name = strdup(name)) && (h->memory = malloc(size + LINE))) {
    h->bytes = (char *)h->memory + ((uintptr_t)bytes - (uintptr_t)h->memory) % LINE;
    h->size = size;
    code = ECANCELED;
    if (ss_hooks_work(&h->work)) {
      code = h->code;
      *herror = h->herror;
      if (h->found) {
        memcpy(bytes, h->bytes, size);
        *entry = h->entry;
        entry->h_name = moved(h, h->entry.h_name, bytes);
        entry->h_aliases = moved_list(h, h->entry.h_aliases, bytes);
        entry->h_addr_list = moved_list(h, h->entry.h_addr_list, bytes);
        *result = entry;
      }
    }
  }
  ss_work_end(&h->work);
  return code;
}
