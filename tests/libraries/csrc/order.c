/* libc's qsort_r and bsearch with a comparator that waits for the host. */
#include "library.h"

/* What a sort's comparators share: neither function can be stopped, so after a failure the host is left alone. */
struct order {
  int status;
  int64_t comparisons;
};

/* Less, equal or greater, as the host says. [fiber; may suspend; no] */
static int ask(struct order *order, int64_t a, int64_t b) {
  int64_t answer = 0;
  if (order->status) return 0;
  sidestack_value pair[] = {sidestack_int(a), sidestack_int(b)};
  order->status = library_ask("order.compare", pair, 2, &answer);
  order->comparisons++;
  return (int)answer;
}

/* [fiber; may suspend; no] */
static int compare(const void *a, const void *b, void *order) {
  return ask(order, *(const int64_t *)a, *(const int64_t *)b);
}

/* How many items a list has that is all integers: they follow its head in the run; 0 if it is none. */
static uint32_t items_of(const sidestack_value *list) {
  return sidestack_tag_of(list) == SIDESTACK_LIST ? list->len : 0;
}

/* (list of integers): the same in their order. */
FUNCTION(library_sort) {
  (void)data, (void)nargs;
  uint32_t count = items_of(args);
  struct order order = {0, 0};
  int64_t *items = malloc((count + 1) * sizeof *items);
  sidestack_value *run = malloc((count + 1) * sizeof *run);
  int status = SIDESTACK_NO_MEMORY;
  if (items && run) {
    for (uint32_t i = 0; i < count; i++) items[i] = sidestack_int_or(&args[i + 1], 0);
    qsort_r(items, count, sizeof *items, compare, &order);
    run[0] = sidestack_list(count);
    for (uint32_t i = 0; i < count; i++) run[i + 1] = sidestack_int(items[i]);
    status = order.status ? order.status : sidestack_results_set(results, run, 1);
  }
  free(items);
  free(run);
  return status;
}

/* bsearch() passes nothing on: what it looks for brings the rest. */
struct sought {
  int64_t value;
  struct order order;
};

/* [fiber; may suspend; no] */
static int compare_sought(const void *sought, const void *item) {
  struct sought *key = (struct sought *)sought;
  return ask(&key->order, key->value, *(const int64_t *)item);
}

/* (value, sorted list of integers): its place among them, or nil; the number of comparisons. */
FUNCTION(library_search) {
  (void)data, (void)nargs;
  struct sought sought = {sidestack_int_or(&args[0], 0), {0, 0}};
  uint32_t count = items_of(&args[1]);
  int64_t *items = malloc((count + 1) * sizeof *items);
  if (!items) return SIDESTACK_NO_MEMORY;
  for (uint32_t i = 0; i < count; i++) items[i] = sidestack_int_or(&args[i + 2], 0);
  int64_t *found = bsearch(&sought, items, count, sizeof *items, compare_sought);
  sidestack_value run[] = {found ? sidestack_int(found - items) : sidestack_nil(),
                           sidestack_int(sought.order.comparisons)};
  free(items);
  return sought.order.status ? sought.order.status : sidestack_results_set(results, run, 2);
}
