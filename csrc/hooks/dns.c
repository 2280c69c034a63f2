/* res_nsearch, by which programs ask name servers for records: on the thread pool, with a resolver's state of its own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hooks.h"

typedef struct question {
  ss_work work;
  struct __res_state asked; /* the caller's settings; what it points to is not used */
  char *name;
  unsigned char *answer;
  int class, type, room, length, herror, error;
} question;

/* [any thread; no; no] */
static void ask(ss_work *work) {
  question *q = (question *)work;
  struct __res_state state;
  memset(&state, 0, sizeof state);
  q->length = -1;
  q->herror = NETDB_INTERNAL;
  if (res_ninit(&state) == 0) {
    state.retrans = q->asked.retrans;
    state.retry = q->asked.retry;
    state.options = q->asked.options;
    state.nscount = q->asked.nscount;
    memcpy(state.nsaddr_list, q->asked.nsaddr_list, sizeof state.nsaddr_list);
    q->length = SS_NEXT(res_nsearch)(&state, q->name, q->class, q->type, q->answer, q->room);
    q->herror = state.res_h_errno;
    res_nclose(&state);
  }
  q->error = errno;
}

/* [any thread; no; no] */
static void forget(ss_work *work) {
  question *q = (question *)work;
  free(q->name);
  free(q->answer);
}

/* [any thread; guests may suspend; no] */
int res_nsearch(res_state state, const char *name, int class, int type, unsigned char *answer, int room) {
  question *q = ss_hooks_guest() && room > 0 ? ss_work_new(sizeof *q, ask, forget) : NULL;
  if (!q) return SS_NEXT(res_nsearch)(state, name, class, type, answer, room);
  q->asked = *state;
  q->class = class, q->type = type, q->room = room;
  int length = -1, herror = NETDB_INTERNAL;
  if ((q->name = strdup(name)) && (q->answer = malloc((size_t)room)) && ss_hooks_work(&q->work)) {
    length = q->length;
    herror = q->herror;
    /* The length may be more than there is room for. */
    if (length > 0) memcpy(answer, q->answer, (size_t)(length < room ? length : room));
    if (length < 0) errno = q->error;
  }
  ss_work_end(&q->work);
  state->res_h_errno = h_errno = herror;
  return length;
}
