/* What the guests of the three libraries share. Their code is blocking code as anywhere: the hooks do the rest. */
#ifndef LIBS_H
#define LIBS_H

#include "case.h"

/* Notes that the caller runs on this thread; see libs_threads. */
void libs_note_thread(void);

/* A terminated copy of a STRING argument, on the caller's stack. */
#define TEXT(name, value)                                                                                              \
  CHECK((value).tag == SS_STRING && (value).len < 400);                                                                \
  char name[400];                                                                                                      \
  memcpy(name, (value).as.bytes, (value).len);                                                                         \
  name[(value).len] = '\0'

/* Fails with a library's own message. */
#define SAYS(condition, text)                                                                                          \
  do {                                                                                                                 \
    if (!(condition)) return case_fail(result, __FILE__, __LINE__, text);                                              \
  } while (0)

#endif
