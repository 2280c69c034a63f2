/* Handles by the public API. */
#include "public.h"

static int64_t destroyed;
static void destroy(void *pointer) { __atomic_add_fetch(&destroyed, *(int64_t *)pointer, __ATOMIC_RELAXED); }
static const sidestack_kind IMAGE = {"image", destroy};
static const sidestack_kind FONT = {"font", NULL};

FUNCTION(public_destroyed) {
  (void)data, (void)args, (void)nargs;
  return sidestack_return(results, sidestack_int(__atomic_load_n(&destroyed, __ATOMIC_RELAXED)));
}

static int64_t one = 1;

/* Makes one and leaves it. */
FUNCTION(public_leave) {
  (void)data, (void)args, (void)nargs;
  sidestack_handle handle;
  int status = sidestack_handle_make(&one, &IMAGE, &handle);
  return status ? status : sidestack_return(results, sidestack_int((int64_t)handle));
}

/* (handle): the status of its use, and its code. */
FUNCTION(public_use) {
  (void)data, (void)nargs;
  void *pointer = &one;
  int status = sidestack_handle_use((sidestack_handle)args[0].as.integer, &IMAGE, &pointer);
  if ((status == SIDESTACK_OK) != (pointer == &one) || (status != SIDESTACK_OK) != (pointer == NULL))
    return sidestack_fail("test", "status and pointer do not agree");
  sidestack_value run[] = {sidestack_int(status),
                           sidestack_string(status ? sidestack_error_code() : "")};
  return sidestack_results_set(results, run, 2);
}

/* (handle): releases it; the status. */
FUNCTION(public_release) {
  (void)data, (void)nargs;
  return sidestack_return(results, sidestack_int(sidestack_handle_release((sidestack_handle)args[0].as.integer)));
}

#define EXPECT(status, call)                                                       \
  do {                                                                             \
    int got = (call);                                                              \
    if (got != (status)) {                                                         \
      char message[160];                                                           \
      snprintf(message, sizeof message, "%s gave %d, not %d", #call, got, status); \
      return sidestack_fail("test", message);                                      \
    }                                                                              \
  } while (0)

/* (object): every error there is, on one thread. */
FUNCTION(public_misuse) {
  (void)data, (void)nargs;
  sidestack_handle handle, object = args[0].as.key;
  const sidestack_kind *kind;
  void *pointer;
  int64_t two = 2;
  EXPECT(SIDESTACK_OK, sidestack_handle_make(&two, &IMAGE, &handle));
  EXPECT(SIDESTACK_OK, sidestack_handle_use(handle, &IMAGE, &pointer));
  if (pointer != &two) return sidestack_fail("test", "another pointer");
  EXPECT(SIDESTACK_OK, sidestack_handle_kind(handle, &kind));
  if (kind != &IMAGE) return sidestack_fail("test", "another kind");
  EXPECT(SIDESTACK_WRONG_KIND, sidestack_handle_use(handle, &FONT, &pointer));
  EXPECT(SIDESTACK_FORGED, sidestack_handle_use(handle + 5, &IMAGE, &pointer));
  EXPECT(SIDESTACK_FORGED, sidestack_handle_use(handle + (UINT64_C(1000) << 32), &IMAGE, &pointer));
  EXPECT(SIDESTACK_WRONG_OWNER, sidestack_handle_use(handle ^ (UINT64_C(3) << 54), &IMAGE, &pointer));
  /* And the host does not take C's own for an object. */
  sidestack_value as_object = args[0];
  as_object.as.key = handle;
  EXPECT(SIDESTACK_ERROR, sidestack_call_name("t.touch", &as_object, 1, NULL));
  EXPECT(SIDESTACK_OK, sidestack_handle_release(handle));
  EXPECT(SIDESTACK_STALE, sidestack_handle_use(handle, &IMAGE, &pointer));
  EXPECT(SIDESTACK_STALE, sidestack_handle_release(handle));
  EXPECT(SIDESTACK_STALE, sidestack_handle_kind(handle, &kind));
  /* A host object is a handle of a kind that C does not know. */
  EXPECT(SIDESTACK_WRONG_KIND, sidestack_handle_use(object, &IMAGE, &pointer));
  EXPECT(SIDESTACK_OK, sidestack_handle_kind(object, &kind));
  if (kind) return sidestack_fail("test", "an object with a kind");
  /* A callback is no handle, and the other way round. */
  sidestack_value callback;
  EXPECT(SIDESTACK_OK, sidestack_callback(public_use, NULL, NULL, &callback));
  EXPECT(SIDESTACK_WRONG_KIND, sidestack_handle_release(callback.as.key));
  EXPECT(SIDESTACK_OK, sidestack_callback_release(callback));
  EXPECT(SIDESTACK_STALE, sidestack_callback_release(callback));
  callback.as.key = object;
  EXPECT(SIDESTACK_WRONG_KIND, sidestack_callback_call(callback, NULL, 0, NULL));
  EXPECT(SIDESTACK_WRONG_KIND, sidestack_callback_release(sidestack_int(1)));
  return sidestack_return(results, sidestack_int(two));
}

enum { FREE, KEEP, RETURN, ARGUMENT };

/* (how, an object): what becomes of an object that a host call returns, or that is an argument. */
FUNCTION(public_object) {
  (void)data, (void)nargs;
  sidestack_value object = sidestack_nil();
  int64_t how = args[0].as.integer;
  if (how == ARGUMENT) {
    object = args[1];
    sidestack_keep(&args[1]);
    return sidestack_return(results, sidestack_int((int64_t)object.as.key));
  }
  int status = sidestack_call_name("t.counted", NULL, 0, results);
  if (status || how == RETURN) return status;
  object = results->values[0];
  if (how == KEEP) sidestack_keep(&results->values[0]);
  sidestack_results_free(results);
  status = sidestack_call_name("t.touch_counted", &object, 1, NULL);
  EXPECT(how == KEEP ? SIDESTACK_OK : SIDESTACK_ERROR, status);
  EXPECT(how == KEEP ? SIDESTACK_OK : SIDESTACK_STALE, sidestack_handle_release(object.as.key));
  return SIDESTACK_OK;
}

/* (operations, another interpreter's handle): makes, uses and releases handles, and makes each mistake. How many operations it did. */
FUNCTION(public_handle_storm) {
  (void)data, (void)nargs;
  enum { LIVE = 64 };
  sidestack_handle live[LIVE] = {0}, foreign = (sidestack_handle)args[1].as.integer;
  int64_t numbers[LIVE], done = 0, operations = args[0].as.integer;
  uint32_t random = (uint32_t)sidestack_fiber() * 2654435761u + 1;
  void *pointer;
  for (int i = 0; i < LIVE; i++) numbers[i] = i;
  while (done < operations) {
    random = random * 1664525u + 1013904223u;
    unsigned at = random >> 26;
    if (!live[at]) EXPECT(SIDESTACK_OK, sidestack_handle_make(&numbers[at], &FONT, &live[at]));
    EXPECT(SIDESTACK_OK, sidestack_handle_use(live[at], &FONT, &pointer));
    if (pointer != &numbers[at]) return sidestack_fail("test", "another pointer");
    done += 2;
    if (random & 1024) {
      sidestack_handle old = live[at];
      EXPECT(SIDESTACK_OK, sidestack_handle_release(old));
      live[at] = 0;
      EXPECT(SIDESTACK_STALE, sidestack_handle_use(old, &FONT, &pointer));
      EXPECT(SIDESTACK_STALE, sidestack_handle_release(old));
      done += 3;
    } else if ((random & 0xf000) == 0) {
      EXPECT(SIDESTACK_WRONG_KIND, sidestack_handle_use(live[at], &IMAGE, &pointer));
      EXPECT(SIDESTACK_FORGED, sidestack_handle_use(live[at] + 7, &FONT, &pointer));
      EXPECT(SIDESTACK_WRONG_OWNER, sidestack_handle_use(foreign, &FONT, &pointer));
      done += 3;
    }
    if (sidestack_poll()) return SIDESTACK_CANCELLED;
  }
  for (int i = 0; i < LIVE; i++)
    if (live[i]) EXPECT(SIDESTACK_OK, sidestack_handle_release(live[i]));
  return sidestack_return(results, sidestack_int(done));
}

/* (n): so many cycles of create and release; the highest place in the table that was used, beyond the first one's. */
FUNCTION(public_cycles) {
  (void)data, (void)nargs;
  uint64_t first = 0, highest = 0;
  for (int64_t i = 0; i < args[0].as.integer; i++) {
    sidestack_value callback;
    EXPECT(SIDESTACK_OK, sidestack_callback(public_use, NULL, NULL, &callback));
    uint64_t place = callback.as.key >> 32 & 0x3fffff;
    if (i == 0) first = place;
    if (place > highest) highest = place;
    EXPECT(SIDESTACK_OK, sidestack_callback_release(callback));
  }
  return sidestack_return(results, sidestack_int((int64_t)(highest - first)));
}
