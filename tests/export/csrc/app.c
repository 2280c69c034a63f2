/* A C program that knows nothing of fibers: A1, and a loop for A5. */
#include <stdio.h>

#include "exports.h"

int64_t app_fetch(int64_t url);
int64_t app_loop(int64_t rounds);

int64_t app_fetch(int64_t url) {
  puts("before");
  int v = do_fetch((const char *)url);
  puts("after");
  return v;
}

int64_t app_loop(int64_t rounds) {
  uint64_t x = UINT64_C(88172645463325252);
  for (int64_t i = 0; i < rounds; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
  }
  return (int64_t)(x >> 1);
}
