/* Where a script is, in words, for guests' shims: without allocating, of structures that may be broken. */
#ifndef SIDESTACK_TEXT_H
#define SIDESTACK_TEXT_H

#include <stddef.h>

/* Copies memory; 0: it is not there. [any, also in a handler; no; no] */
typedef int ss_reader(void *to, const void *from, size_t size);

/* Of what is known to be there; ss_fault_copy() (faults.h) is the other one. [any; no; no] */
int ss_read_plainly(void *to, const void *from, size_t size);

typedef struct ss_text {
  char *bytes; /* terminated once something was added */
  size_t size, length;
} ss_text;

/* Adds as much as there is room for. [any, also in a handler; no; no] */
void ss_text_add(ss_text *text, const char *more);

/* Adds ":14". [any, also in a handler; no; no] */
void ss_text_add_line(ss_text *text, unsigned line);

#endif
