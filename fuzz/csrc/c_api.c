/*
 * The C API, called as bytes say: with keys of all kinds, right and wrong, with values of all kinds, with NULL where that is
 * allowed. What it may not be given (a pointer that is none) it is not given.
 */
#include <sidestack.h>

#include <stdlib.h>
#include <string.h>

enum { HANDLES = 8, CALLBACKS = 4, TASKS = 4, OBJECTS = 4, ENTRIES = 64 };

typedef struct input {
  const unsigned char *at, *end;
  sidestack_handle handles[HANDLES], tasks[TASKS], objects[OBJECTS];
  sidestack_value callbacks[CALLBACKS];
  int depth;
} input;

static void destroy(void *pointer) { free(pointer); }
static const sidestack_kind KINDS[] = {{"freed", destroy}, {"kept", NULL}};
static const char *const NAMES[] = {
    "f.take",     "f.echo",    "f.typed",        "f.object",    "f.touch",   "f.apply",
    "f.waits",    "f.none",    "",               ".",           "f",         "Thing.none",
    "Task.join",  "Task.cancel", "Channel.try_recv", "sidestack.core.channel",   "sidestack.core.json_encode",
    "sidestack.core.json_decode", NULL,
};

static unsigned byte(input *in) { return in->at < in->end ? *in->at++ : 0; }

static uint64_t number(input *in) {
  uint64_t number = 0;
  for (unsigned bytes = byte(in) % 9; bytes > 0; bytes--) number = number << 8 | byte(in);
  return number;
}

static const sidestack_kind *kind(input *in) {
  unsigned which = byte(in) % 3;
  return which < 2 ? &KINDS[which] : NULL;
}

/* A key that was given out, perhaps changed in one place; or any. */
static uint64_t key(input *in) {
  unsigned how = byte(in), which = byte(in);
  uint64_t key;
  switch (how % 6) {
    case 0: key = in->handles[which % HANDLES]; break;
    case 1: key = in->callbacks[which % CALLBACKS].as.key; break;
    case 2: key = in->tasks[which % TASKS]; break;
    case 3: key = in->objects[which % OBJECTS]; break;
    default: return number(in);
  }
  return how & 64 ? key ^ (UINT64_C(1) << (byte(in) % 64)) : key;
}

/* A run of `count` values, no longer than there is room; how many entries. */
static uint32_t values(input *in, sidestack_value *run, uint32_t count, uint32_t room) {
  uint32_t used = 0;
  uint64_t left = count;
  while (left > 0) {
    left--;
    sidestack_value *value = &run[used++];
    *value = sidestack_nil();
    /* What is promised has to fit. */
    unsigned tag = room - used <= left + 8 ? SIDESTACK_INT : byte(in) % 14;
    value->tag = tag < 12 ? tag : tag == 12 ? 77 : SIDESTACK_OBJECT;
    switch (tag) {
      case SIDESTACK_FLOAT: {
        uint64_t bits = number(in);
        memcpy(&value->as.number, &bits, sizeof bits);
        break;
      }
      case SIDESTACK_STRING:
      case SIDESTACK_BYTES: {
        size_t rest = (size_t)(in->end - in->at);
        value->len = (uint32_t)(byte(in) % 32);
        if (value->len > rest) value->len = (uint32_t)rest;
        value->as.bytes = value->len ? (const char *)in->end - value->len : NULL;
        break;
      }
      case SIDESTACK_LIST:
        value->len = byte(in) % 4;
        left += value->len;
        break;
      case SIDESTACK_MAP:
        value->len = byte(in) % 3;
        left += 2 * (uint64_t)value->len;
        break;
      case SIDESTACK_BOOL:
        value->as.integer = byte(in) & 1;
        break;
      case SIDESTACK_FUNCTION:
        if (byte(in) & 1)
          *value = in->callbacks[byte(in) % CALLBACKS];
        else
          value->as.key = key(in);
        break;
      case SIDESTACK_REFERENCE:
        value->as.key = key(in);
        break;
      case SIDESTACK_OBJECT:
      case 13:
        value->as.key = key(in);
        value->len = byte(in);
        break;
      default:
        value->as.integer = (int64_t)number(in);
    }
  }
  return used;
}

static int step(input *in, sidestack_results *results);

/* A callback goes on with the bytes, a little deeper. */
static int callback(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  input *in = data;
  if (++in->depth < 6)
    for (int i = 0; i < 4; i++) step(in, results);
  in->depth--;
  int status = sidestack_results_set(results, args, nargs);
  return byte(in) % 4 ? status : sidestack_fail(byte(in) & 1 ? "code" : NULL, byte(in) & 1 ? "message" : NULL);
}

/* A fiber of its own has nothing of ours. */
static int spawned(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  (void)args, (void)nargs;
  if (sidestack_yield()) return SIDESTACK_CANCELLED;
  return sidestack_return(results, sidestack_string(data ? "with data" : "without"));
}

static void keep_objects(input *in, sidestack_results *results) {
  if (results->count != 1 || sidestack_tag_of(results->values) != SIDESTACK_OBJECT) return;
  unsigned at = byte(in) % OBJECTS;
  if (in->objects[at] || !(byte(in) & 1)) return;
  in->objects[at] = results->values[0].as.key;
  sidestack_keep(&results->values[0]);
}

static int call(input *in, sidestack_results *results) {
  sidestack_value run[ENTRIES];
  uint32_t id = 0, count = byte(in) % 5;
  values(in, run, count, ENTRIES);
  sidestack_results own;
  sidestack_results_init(&own);
  const char *name = NAMES[byte(in) % (sizeof NAMES / sizeof *NAMES)];
  unsigned how = byte(in) % 4;
  int status;
  if (how == 0) {
    status = sidestack_call_name(name, run, count, NULL);
  } else if (how == 1) {
    status = sidestack_call((uint32_t)number(in), run, count, &own);
  } else {
    status = sidestack_function_id(name, &id);
    if (!status) status = sidestack_call(id, run, count, &own);
  }
  if (!status) keep_objects(in, &own);
  if (!status && (byte(in) & 1)) status = sidestack_results_set(results, own.values, own.count);
  sidestack_results_free(&own);
  sidestack_results_free(&own);
  return status;
}

static int handles(input *in) {
  unsigned at = byte(in) % HANDLES;
  void *pointer;
  const sidestack_kind *of = kind(in), *told;
  switch (byte(in) % 5) {
    case 0:
      if (in->handles[at]) return SIDESTACK_OK;
      pointer = of == &KINDS[0] ? malloc(8) : (void *)(uintptr_t)number(in);
      if (sidestack_handle_make(pointer, of, &in->handles[at])) return SIDESTACK_ERROR;
      return SIDESTACK_OK;
    case 1:
      return sidestack_handle_use(key(in), of, &pointer);
    case 2:
      return sidestack_handle_kind(key(in), &told);
    case 3: {
      uint64_t taken = key(in);
      int status = sidestack_handle_release(taken);
      if (status) return status;
      /* An object or a task may be gone as well now. */
      for (int i = 0; i < HANDLES; i++) if (in->handles[i] == taken) in->handles[i] = 0;
      for (int i = 0; i < TASKS; i++) if (in->tasks[i] == taken) in->tasks[i] = 0;
      for (int i = 0; i < OBJECTS; i++) if (in->objects[i] == taken) in->objects[i] = 0;
      return SIDESTACK_OK;
    }
    default:
      return sidestack_keep(&(sidestack_value){SIDESTACK_NIL, 0, {0}}), SIDESTACK_OK;
  }
}

static int callbacks(input *in, sidestack_results *results) {
  unsigned at = byte(in) % CALLBACKS;
  sidestack_value value, run[ENTRIES];
  switch (byte(in) % 4) {
    case 0:
      if (sidestack_tag_of(&in->callbacks[at]) == SIDESTACK_FUNCTION) return SIDESTACK_OK;
      return sidestack_callback(byte(in) % 8 ? callback : NULL, in, NULL, &in->callbacks[at]);
    case 1: {
      uint32_t count = byte(in) % 3;
      values(in, run, count, ENTRIES);
      value = in->callbacks[at];
      return in->depth < 6 ? sidestack_callback_call(value, run, count, byte(in) & 1 ? results : NULL) : SIDESTACK_OK;
    }
    case 2: {
      int status = sidestack_callback_release(in->callbacks[at]);
      in->callbacks[at] = sidestack_nil();
      return status;
    }
    default:
      values(in, run, 1, ENTRIES);
      value = run[0];
      value.tag = byte(in) % 14;
      value.as.key = key(in);
      return byte(in) & 1 ? sidestack_callback_call(value, NULL, 0, NULL) : SIDESTACK_OK;
  }
}

static int tasks(input *in, sidestack_results *results) {
  unsigned at = byte(in) % TASKS;
  switch (byte(in) % 4) {
    case 0:
      if (in->tasks[at]) return sidestack_spawn(spawned, NULL, NULL, NULL);
      return sidestack_spawn(spawned, in, NULL, &in->tasks[at]);
    case 1:
      return sidestack_join(in->tasks[at], results);
    case 2:
      return sidestack_cancel(in->tasks[at]);
    default:
      return byte(in) & 1 ? sidestack_join(key(in) | 1, results) : sidestack_cancel(key(in));
  }
}

static int others(input *in, sidestack_results *results) {
  sidestack_value run[ENTRIES];
  uintptr_t base, limit;
  sidestack_host *host = NULL;
  uint32_t count;
  switch (byte(in) % 9) {
    case 0: return sidestack_yield();
    case 1: return sidestack_poll();
    case 2: return sidestack_sleep(byte(in) % 4 ? 0.0 : -(double)number(in));
    case 3: return sidestack_stack(&base, &limit);
    case 4: {
      int status = sidestack_host_here(&host);
      if (!status && sidestack_attach(host) != SIDESTACK_REFUSED) abort();
      sidestack_host_free(host);
      return status;
    }
    case 5: return sidestack_detach();
    case 6: return sidestack_fail(byte(in) & 1 ? "code" : NULL, NULL);
    case 7:
      count = byte(in) % 4;
      values(in, run, count, ENTRIES);
      return sidestack_results_set(results, run, count);
    default: return sidestack_error_code() && sidestack_error_message() && sidestack_fiber() ? SIDESTACK_OK : (abort(), 0);
  }
}

static int step(input *in, sidestack_results *results) {
  int status;
  switch (byte(in) % 8) {
    case 0:
    case 1:
    case 2: status = call(in, results); break;
    case 3:
    case 4: status = handles(in); break;
    case 5: status = callbacks(in, results); break;
    case 6: status = tasks(in, results); break;
    default: status = others(in, results);
  }
  if (status < SIDESTACK_OK || status > SIDESTACK_NO_MEMORY) abort();
  return status;
}

/* (bytes): as long as there are any. */
int fuzz_c_api(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  (void)data, (void)nargs;
  size_t len;
  const char *bytes = sidestack_text_of(&args[0], &len);
  input in = {.at = (const unsigned char *)bytes, .end = (const unsigned char *)bytes + len};
  int status = SIDESTACK_OK;
  while (in.at < in.end) status = step(&in, results);
  for (int i = 0; i < HANDLES; i++)
    if (in.handles[i]) sidestack_handle_release(in.handles[i]);
  for (int i = 0; i < CALLBACKS; i++)
    if (sidestack_tag_of(&in.callbacks[i]) == SIDESTACK_FUNCTION) sidestack_callback_release(in.callbacks[i]);
  for (int i = 0; i < TASKS; i++)
    if (in.tasks[i]) sidestack_handle_release(in.tasks[i]);
  for (int i = 0; i < OBJECTS; i++)
    if (in.objects[i]) sidestack_handle_release(in.objects[i]);
  return status == SIDESTACK_OK ? status : SIDESTACK_ERROR;
}
