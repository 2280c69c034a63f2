/*
 * Homes: the folder that a text's own modules are looked for in. The text of a run is gone once its outcome is told, but what
 * it started, gave out or left to clean up goes on; so a home is counted.
 */
#ifndef SIDESTACK_LUA_HOME_H
#define SIDESTACK_LUA_HOME_H

#include "heap.h"

typedef struct sslua_home {
  size_t uses, len;
  char folder[];
} sslua_home;

/* One with one use; NULL: no memory. [fiber; no; no] */
sslua_home *sslua_home_new(sslua_heap *heap, const char *folder, size_t len);
/* The same one, NULL included, with one use more. [interpreter thread; no; no] */
sslua_home *sslua_home_share(sslua_home *home);
/* One use less. NULL is ignored. [interpreter thread; no; no] */
void sslua_home_drop(sslua_home *home);

#endif
