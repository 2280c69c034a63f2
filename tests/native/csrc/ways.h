/* The suspension matrix of plain C: what is waited for, and what the ways in share. */
#ifndef TEST_WAYS_H
#define TEST_WAYS_H

#include "public.h"

/* A cell's fiber: the name of what it waits for, the cell's own name, and its number. */
typedef struct ways_cell {
  sidestack_value point, key;
  int64_t n;
} ways_cell;

#ifdef __cplusplus
extern "C" {
#endif

/* A fiber's arguments: number, point, key. */
ways_cell ways_cell_of(const sidestack_value *args);

/* P: waits for the cell's point and gives its number, by way of what it waited for. */
int ways_wait(const ways_cell *cell, int64_t *out);

/* The number, or a negative status. */
int64_t ways_number(const ways_cell *cell);

/* A result as text. */
int ways_say(sidestack_results *results, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif

#endif
