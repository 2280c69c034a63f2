/* What plain C waits for in the suspension matrix. */
#include "ways.h"

#include <stdarg.h>

ways_cell ways_cell_of(const sidestack_value *args) { return (ways_cell){args[1], args[2], sidestack_int_or(&args[0], -1)}; }

static int enter(const ways_cell *cell) {
  sidestack_value key = cell->key;
  return sidestack_call_name("points.enter", &key, 1, NULL);
}

static int leave(const ways_cell *cell) {
  sidestack_value key = cell->key;
  return sidestack_call_name("points.leave", &key, 1, NULL);
}

static int sleeps(const ways_cell *cell, int64_t *out) {
  int status = enter(cell);
  if (!status) status = sidestack_sleep(0.005);
  if (!status) status = leave(cell);
  *out = cell->n;
  return status;
}

static int queries(const ways_cell *cell, int64_t *out) {
  int status = enter(cell);
  if (!status) status = call_int("points.sql", cell->n, out);
  return status ? status : leave(cell);
}

/* The body of a response: the entry behind its name. */
static const sidestack_value *body_of(const sidestack_results *response) {
  const sidestack_value *at = response->values, *pair = at + 1;
  if (sidestack_tag_of(at) != SIDESTACK_MAP) return NULL;
  for (uint32_t i = 0; i < at->len; i++, pair = sidestack_next(sidestack_next(pair))) {
    size_t len;
    const char *name = sidestack_text_of(pair, &len);
    if (name && len == 4 && memcmp(name, "body", 4) == 0) return sidestack_next(pair);
  }
  return NULL;
}

static int requests(const ways_cell *cell, int64_t *out) {
  sidestack_value n = sidestack_int(cell->n);
  sidestack_results url, response;
  sidestack_results_init(&url), sidestack_results_init(&response);
  int status = sidestack_call_name("points.url", &n, 1, &url);
  if (!status) status = enter(cell);
  if (!status) {
    sidestack_value run[] = {sidestack_map(1), sidestack_string("url"), url.values[0]};
    status = sidestack_call_name("sidestack.core.http_request", run, 1, &response);
  }
  if (!status) status = leave(cell);
  const sidestack_value *body = status ? NULL : body_of(&response);
  if (!status && !body) status = sidestack_fail("test", "a response without a body");
  if (body) *out = strtoll(body->as.bytes, NULL, 10);
  sidestack_results_free(&url), sidestack_results_free(&response);
  return status;
}

typedef struct later {
  sidestack_value channel;
  int64_t n;
} later;

static FUNCTION(sends) {
  (void)args, (void)nargs, (void)results;
  const later *later = data;
  if (call_int("points.sleep", 2, NULL)) return SIDESTACK_ERROR;
  sidestack_value run[] = {later->channel, sidestack_int(later->n)};
  return sidestack_call_name("Channel.send", run, 2, NULL);
}

static int receives(const ways_cell *cell, int64_t *out) {
  sidestack_value one = sidestack_int(1);
  sidestack_results channel, received;
  sidestack_results_init(&channel), sidestack_results_init(&received);
  later *sender = malloc(sizeof *sender);
  int status = sidestack_call_name("sidestack.core.channel", &one, 1, &channel);
  if (!status) {
    *sender = (later){channel.values[0], cell->n};
    status = sidestack_spawn(sends, sender, free, NULL);
  } else {
    free(sender);
  }
  if (!status) status = enter(cell);
  if (!status) {
    sidestack_value run = channel.values[0];
    status = sidestack_call_name("Channel.recv", &run, 1, &received);
  }
  if (!status) {
    *out = sidestack_int_or(received.values, -1);
    status = leave(cell);
  }
  sidestack_results_free(&channel), sidestack_results_free(&received);
  return status;
}

int ways_wait(const ways_cell *cell, int64_t *out) {
  static const struct {
    const char *name;
    int (*wait)(const ways_cell *, int64_t *);
  } points[] = {{"sleep", sleeps}, {"HTTP", requests}, {"SQL", queries}, {"channel", receives}};
  char name[16];
  name_of(&cell->point, name, sizeof name);
  *out = 0;
  for (size_t i = 0; i < sizeof points / sizeof *points; i++)
    if (strcmp(points[i].name, name) == 0) return points[i].wait(cell, out);
  return sidestack_fail("test", "no such point");
}

int64_t ways_number(const ways_cell *cell) {
  int64_t n = 0;
  int status = ways_wait(cell, &n);
  return status ? -1000 - status : n;
}

int ways_say(sidestack_results *results, const char *format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return sidestack_return(results, sidestack_string(text));
}
