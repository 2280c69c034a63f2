#include "home.h"

#include <string.h>

sslua_home *sslua_home_new(sslua_heap *heap, const char *folder, size_t len) {
  sslua_home *home = sslua_heap_realloc(heap, NULL, sizeof(*home) + len);
  if (home == NULL) return NULL;
  home->uses = 1;
  home->len = len;
  memcpy(home->folder, folder, len);
  return home;
}

sslua_home *sslua_home_share(sslua_home *home) {
  if (home != NULL) home->uses++;
  return home;
}

void sslua_home_drop(sslua_home *home) {
  if (home != NULL && --home->uses == 0) sslua_heap_free(home);
}
