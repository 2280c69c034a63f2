/* In place of all other files where a sanitizer has interceptors of its own: nothing is caught, and ss_hooks_missing() says so. */
#include "hooks.h"

const char *ss_hooks_missing(uint32_t index) {
  static const char *const names[] = {
#define SS_ROW(name) #name,
      SS_HOOKED(SS_ROW) SS_HOOKED_CHECKED(SS_ROW)
#undef SS_ROW
  };
  return index < sizeof names / sizeof *names ? names[index] : NULL;
}
