/*
 * Host calls.
 *
 * Function `nap` of module `app` is the PHP function app\nap; those of sidestack.core are in the namespace Sidestack. All have
 * one handler, and keep their number in a word that the engine reserves for extensions. A context gets them when it is
 * made, in front of what its requests declare, so they stay. Their structures are the interpreter's: no context frees them.
 *
 * The handler encodes the arguments, crosses, and does what the status says: give the result, throw, unwind, or
 * (SS_CALL_GUEST, any number of times) call a PHP function on this same C stack and answer. A function that is left by
 * exit() or by a fatal error takes the request with it: the host is told SS_KILL, and once it has given up the call the
 * request goes on dying.
 */
#include "host.h"

#include <stdlib.h>
#include <string.h>

#include "errors.h"
#include "library.h"
#include "refs.h"
#include "timer.h"
#include "values.h"

int ssphp_reserved;

typedef struct function {
  zend_internal_function php;
  zend_string *key; /* its name in lower case */
} function;

typedef struct class {
  zend_class_entry *php;
  zend_string *key;
} class;

struct ssphp_functions {
  uint32_t nfunctions, nclasses;
  function *functions;
  class *classes;
};

/* ---- calling ---- */

typedef enum dying { ALIVE, EXITING, BAILING } dying;

/* Calls the function that the host asks for, and answers. [fiber; may suspend; no: it says how it was left] */
static int call_guest(ss_call *call, int by_reference, dying *state, zend_object **exit) {
  ssphp_slot *slot = ssphp_ref(ssphp_here(), call->function);
  ssphp_failure failure;
  if (*state != ALIVE) return ss_host_answer(call, SS_KILL, NULL, 0);
  if (slot == NULL || slot->context != ssphp_current()) {
    ssphp_failure_static("wrong_request", "a function of another request", &failure);
    return ss_host_answer(call, SS_ERROR, failure.values, SS_ERROR_VALUES);
  }
  volatile int next = 0;
  ssphp_encoded results;
  zval function, result;
  ZVAL_COPY(&function, &slot->value);
  ZVAL_UNDEF(&result);
  ssphp_encode_begin(&results, by_reference, 0);
  zend_try {
    ssphp_call(&function, call->values, call->count, &result);
    if (EG(exception) == NULL) ssphp_encode(&results, &result);
  } zend_catch {
    *state = BAILING;
  } zend_end_try();
  zend_object *exception = EG(exception);
  if (*state == BAILING) return ss_host_answer(call, SS_KILL, NULL, 0);
  if (exception != NULL && (zend_is_unwind_exit(exception) || zend_is_graceful_exit(exception))) {
    /* Kept: while the host goes on there is no exception under way. */
    *state = EXITING;
    *exit = exception;
    GC_ADDREF(exception);
    zend_clear_exception();
    next = ss_host_answer(call, SS_KILL, NULL, 0);
  } else if (exception != NULL) {
    GC_ADDREF(exception);
    zend_clear_exception();
    ssphp_failure_of(exception, &failure);
    next = ss_host_answer(call, SS_ERROR, failure.values, SS_ERROR_VALUES);
    ssphp_failure_end(&failure);
    OBJ_RELEASE(exception);
  } else {
    next = ss_host_answer(call, SS_OK, results.values, results.count);
  }
  ssphp_encode_end(&results);
  zval_ptr_dtor(&result);
  zval_ptr_dtor(&function);
  return next;
}

/* [fiber; may suspend; may raise] */
void ssphp_call(zval *function, const ss_value *args, uint32_t nargs, zval *result) {
  zval few[SSPHP_SMALL], *params = nargs <= SSPHP_SMALL ? few : safe_emalloc(nargs, sizeof(zval), 0);
  uint32_t made = 0;
  while (made < nargs && EG(exception) == NULL) args = ssphp_decode(args, &params[made++]);
  if (EG(exception) == NULL) {
    zend_fcall_info info = {.size = sizeof(info), .retval = result, .params = params, .param_count = nargs};
    ZVAL_COPY_VALUE(&info.function_name, function);
    if (zend_call_function(&info, NULL) == FAILURE && EG(exception) == NULL)
      ssphp_throw("not_found", "what the host calls is not callable");
  }
  for (uint32_t i = 0; i < made; i++) zval_ptr_dtor(&params[i]);
  if (params != few) efree(params);
}

/* What the call gave, as a value: nothing, one, or a list. [fiber; no; may raise] */
static void give(const ss_call *call, zval *result) {
  if (call->count == 1) {
    ssphp_decode(call->values, result);
  } else if (call->count > 1) {
    const ss_value *from = call->values;
    array_init_size(result, call->count);
    for (uint32_t i = 0; i < call->count; i++) {
      zval item;
      from = ssphp_decode(from, &item);
      zend_hash_next_index_insert_new(Z_ARRVAL_P(result), &item);
    }
  }
}

/* [fiber; may suspend; may raise] */
void ssphp_host_call(uint32_t id, int by_reference, zval *object, zval *args, uint32_t nargs, zval *result) {
  ssphp_encoded run;
  ssphp_encode_begin(&run, by_reference, 0);
  bool fits = object == NULL || ssphp_encode(&run, object);
  for (uint32_t i = 0; fits && i < nargs; i++) fits = ssphp_encode(&run, &args[i]);
  if (!fits) {
    ssphp_encode_end(&run);
    return;
  }
  dying state = ALIVE;
  zend_object *exit = NULL;
  ss_call call;
  ss_call_begin(&call);
  int status = ss_host_call(id, run.values, run.count, &call);
  while (status == SS_CALL_GUEST) status = call_guest(&call, by_reference, &state, &exit);
  ssphp_encode_end(&run);
  if (state == BAILING) {
    ss_host_end(&call);
    zend_bailout();
  }
  if (status == SS_KILL) {
    ssphp_here()->run->killed = 1;
    if (exit != NULL) OBJ_RELEASE(exit);
    ssphp_kill();
  } else if (state == EXITING) {
    zend_throw_exception_internal(exit);
  } else if (status == SS_OK) {
    give(&call, result);
  } else {
    ssphp_timer_check();
    ssphp_throw_host(call.values);
  }
  ss_host_end(&call);
}

/* The handler of all host functions and methods. [fiber; may suspend; may raise] */
static ZEND_NAMED_FUNCTION(host_function) {
  uintptr_t packed = (uintptr_t)EX(func)->internal_function.reserved[ssphp_reserved];
  if (ZEND_CALL_INFO(execute_data) & ZEND_CALL_HAS_EXTRA_NAMED_PARAMS) {
    ssphp_throw("bad_argument", "host functions have no named arguments");
    return;
  }
  uint32_t callable = (uint32_t)(packed >> 40);
  if (callable != 0 && callable <= ZEND_NUM_ARGS() && !ssphp_closure(ZEND_CALL_ARG(execute_data, callable))) return;
  zval *object = Z_TYPE(EX(This)) == IS_OBJECT ? &EX(This) : NULL;
  ssphp_host_call((uint32_t)packed, (packed >> 32 & SS_BY_REFERENCE) != 0, object, ZEND_CALL_ARG(execute_data, 1),
                  ZEND_NUM_ARGS(), return_value);
}

/* ---- what PHP is told of them ---- */

/* mixed ...$args */
ZEND_BEGIN_ARG_INFO_EX(any_arguments, 0, 0, 0)
  ZEND_ARG_VARIADIC_INFO(0, args)
ZEND_END_ARG_INFO()

/* A string that is as good as one of the engine's own; it is never freed. NULL: no memory. [any; no; no] */
static zend_string *name_new(const char *text, size_t len) {
  zend_string *name = malloc(ZEND_MM_ALIGNED_SIZE(_ZSTR_STRUCT_SIZE(len)));
  if (name == NULL) return NULL;
  GC_SET_REFCOUNT(name, 1);
  GC_TYPE_INFO(name) = GC_STRING | ((IS_STR_INTERNED | IS_STR_PERMANENT | IS_STR_PERSISTENT) << GC_FLAGS_SHIFT);
  ZSTR_LEN(name) = len;
  memcpy(ZSTR_VAL(name), text, len);
  ZSTR_VAL(name)[len] = '\0';
  ZSTR_H(name) = 0;
  zend_string_hash_val(name);
  return name;
}

/* The same in lower case. [any; no; no] */
static zend_string *key_new(const zend_string *name) {
  zend_string *key = name_new(ZSTR_VAL(name), ZSTR_LEN(name));
  if (key == NULL) return NULL;
  zend_str_tolower(ZSTR_VAL(key), ZSTR_LEN(key));
  ZSTR_H(key) = 0;
  zend_string_hash_val(key);
  return key;
}

/* "module\function", with PHP's own word for the library's module. [any; no; no] */
static zend_string *qualified(const char *module, const char *name) {
  if (strcmp(module, "sidestack.core") == 0) module = "Sidestack";
  char text[256];
  int len = snprintf(text, sizeof(text), "%s\\%s", module, name);
  for (char *dot = text; (dot = strchr(dot, '.')) != NULL;) *dot = '\\';
  return name_new(text, len < (int)sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

/* [any; no; no] */
static int fill(function *f, zend_string *name, const ss_function_desc *desc, zend_class_entry *scope, uint32_t callable) {
  memset(&f->php, 0, sizeof(f->php));
  f->key = name != NULL ? key_new(name) : NULL;
  f->php.type = ZEND_INTERNAL_FUNCTION;
  /* The last flag keeps tables from freeing it. */
  f->php.fn_flags = ZEND_ACC_PUBLIC | ZEND_ACC_VARIADIC | ZEND_ACC_ARENA_ALLOCATED;
  f->php.function_name = name;
  f->php.scope = scope;
  f->php.arg_info = (zend_internal_arg_info *)any_arguments + 1;
  f->php.handler = host_function;
  f->php.reserved[ssphp_reserved] = (void *)((uintptr_t)callable << 40 | (uintptr_t)desc->flags << 32 | desc->id);
  return f->key != NULL;
}

static zend_object_handlers object_handlers;

/* [fiber; no; no] */
ssphp_object *ssphp_object_of(zend_object *object) {
  return object->handlers == &object_handlers ? (ssphp_object *)((char *)object - XtOffsetOf(ssphp_object, std)) : NULL;
}

/* [fiber; no; may raise: memory] */
static zend_object *object_create(zend_class_entry *class) {
  ssphp_object *object = zend_object_alloc(sizeof(*object), class);
  object->key = 0;
  object->class = 0;
  zend_object_std_init(&object->std, class);
  object_properties_init(&object->std, class);
  object->std.handlers = &object_handlers;
  return &object->std;
}

/* [fiber; no; no] */
static void object_free(zend_object *object) {
  ssphp_object *host = ssphp_object_of(object);
  uint64_t key = host->key;
  host->key = 0;
  zend_object_std_dtor(object);
  if (key != 0) ss_object_release(key);
}

/* Getters are read like properties. [fiber; may suspend; may raise] */
static zval *object_read(zend_object *object, zend_string *name, int type, void **cache, zval *result) {
  ssphp_object *host = ssphp_object_of(object);
  const ss_host_desc *desc = ssphp_here()->host;
  if (host->class < desc->nclasses) {
    const ss_class_desc *class = &desc->classes[host->class];
    for (uint32_t i = 0; i < class->ngetters; i++) {
      if (!zend_string_equals_cstr(name, class->getters[i].name, strlen(class->getters[i].name))) continue;
      zval this;
      ZVAL_OBJ(&this, object);
      ZVAL_NULL(result);
      ssphp_host_call(class->getters[i].id, class->getters[i].flags & SS_BY_REFERENCE, &this, NULL, 0, result);
      return result;
    }
  }
  return zend_std_read_property(object, name, type, cache, result);
}

/* [fiber; no; raises] */
static zval *object_write(zend_object *object, zend_string *name, zval *value, void **cache) {
  (void)object, (void)name, (void)cache;
  ssphp_throw("bad_argument", "a host object's properties cannot be set");
  return value;
}

/* Two PHP objects of one host object are equal. [fiber; no; no] */
static int object_compare(zval *a, zval *b) {
  ZEND_COMPARE_OBJECTS_FALLBACK(a, b);
  const ssphp_object *left = ssphp_object_of(Z_OBJ_P(a)), *right = ssphp_object_of(Z_OBJ_P(b));
  if (left == NULL || right == NULL || left->class != right->class) return ZEND_UNCOMPARABLE;
  return left->key == right->key ? 0 : ZEND_UNCOMPARABLE;
}

/* [fiber; no; may raise] */
void ssphp_object_new(const ss_value *from, zval *value) {
  ssphp *home = ssphp_here();
  ZVAL_NULL(value);
  if (from->len >= home->functions->nclasses) {
    ssphp_throw("convert", "unknown class of host object");
    return;
  }
  ZVAL_OBJ(value, object_create(home->functions->classes[from->len].php));
  ssphp_object *object = ssphp_object_of(Z_OBJ_P(value));
  object->class = from->len;
  object->key = from->as.key;
  ss_claim(from);
}

/* Host objects are made by the host, but for a few of the library's. [fiber; no; raises] */
static zend_function *constructor(zend_object *object) {
  if (object->ce->constructor != NULL) return object->ce->constructor;
  ssphp_throw("bad_argument", "%s objects are made by the host", ZSTR_VAL(object->ce->name));
  return NULL;
}

/* [interpreter thread; no; no] */
static void handlers_open(void) {
  memcpy(&object_handlers, zend_get_std_object_handlers(), sizeof(object_handlers));
  object_handlers.offset = XtOffsetOf(ssphp_object, std);
  object_handlers.free_obj = object_free;
  object_handlers.clone_obj = NULL;
  object_handlers.read_property = object_read;
  object_handlers.write_property = object_write;
  object_handlers.compare = object_compare;
  object_handlers.get_constructor = constructor;
}

/* Whether a class of this name came before: then it gets no name in PHP. [any; no; no] */
static int repeated(const ss_host_desc *host, uint32_t at) {
  for (uint32_t i = 0; i < at; i++)
    if (strcmp(host->classes[i].name, host->classes[at].name) == 0) return 1;
  return 0;
}

/* The classes of the library itself, which are in its namespace. [any; no; no] */
static int own_class(const char *name) {
  static const char *const names[] = {"Task", "Group", "Channel", "Mutex", "Semaphore", "Guard"};
  for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
    if (strcmp(name, names[i]) == 0) return 1;
  return 0;
}

/* The description of a function of the library; NULL: there is none. [any; no; no] */
static const ss_function_desc *core_function(const ss_host_desc *host, const char *name) {
  for (uint32_t i = 0; i < host->nmodules; i++) {
    const ss_module_desc *module = &host->modules[i];
    if (strcmp(module->name, "sidestack.core") != 0) continue;
    for (uint32_t j = 0; j < module->nfunctions; j++)
      if (strcmp(module->functions[j].name, name) == 0) return &module->functions[j];
  }
  return NULL;
}

/* What the library adds to a class of its own. [any; no; no] */
static int add_extras(class *c, const ss_host_desc *host, const char *name) {
  for (const ssphp_extra *extra = ssphp_extras; extra->class != NULL; extra++) {
    const ss_function_desc *desc = core_function(host, extra->host);
    if (strcmp(extra->class, name) != 0 || desc == NULL) continue;
    function *method = calloc(1, sizeof(*method));
    if (method == NULL || !fill(method, name_new(extra->name, strlen(extra->name)), desc, c->php, 0)) return 0;
    method->php.handler = extra->handler;
    method->php.fn_flags = ZEND_ACC_PUBLIC | ZEND_ACC_ARENA_ALLOCATED | extra->flags;
    method->php.arg_info = (zend_internal_arg_info *)extra->arguments + 1;
    method->php.num_args = extra->most;
    method->php.required_num_args = extra->required;
    zend_hash_add_ptr(&c->php->function_table, method->key, &method->php);
    if (extra->flags & ZEND_ACC_CTOR) c->php->constructor = (zend_function *)&method->php;
  }
  if (strcmp(name, "Channel") == 0) c->php->get_iterator = ssphp_channel_iterator;
  return 1;
}

/* A class entry like one of the engine's own, by hand: the engine makes such only while it starts. [any; no; no] */
static int class_fill(class *c, const ss_host_desc *host, uint32_t at) {
  const ss_class_desc *desc = &host->classes[at];
  /* The first class of such a name is the library's own. */
  bool own = own_class(desc->name) && !repeated(host, at);
  zend_string *name = own ? qualified("Sidestack", desc->name) : name_new(desc->name, strlen(desc->name));
  zend_class_entry *entry = calloc(1, sizeof(*entry));
  function *methods = calloc(desc->nmethods + 1, sizeof(*methods));
  if (name == NULL || entry == NULL || methods == NULL || (c->key = key_new(name)) == NULL) return 0;
  c->php = entry;
  entry->type = ZEND_INTERNAL_CLASS;
  entry->name = name;
  zend_initialize_class_data(entry, 1);
  entry->ce_flags |= ZEND_ACC_LINKED | ZEND_ACC_RESOLVED_PARENT | ZEND_ACC_RESOLVED_INTERFACES | ZEND_ACC_FINAL |
                     ZEND_ACC_NO_DYNAMIC_PROPERTIES | ZEND_ACC_NOT_SERIALIZABLE;
  entry->create_object = object_create;
  entry->default_object_handlers = &object_handlers;
  for (uint32_t i = 0; i < desc->nmethods; i++) {
    /* Names with two underscores are for guests that have such: PHP's magic methods have fixed signatures. */
    if (strncmp(desc->methods[i].name, "__", 2) == 0) continue;
    zend_string *method = name_new(desc->methods[i].name, strlen(desc->methods[i].name));
    uint32_t callable = own ? ssphp_callable_at(desc->name, desc->methods[i].name) : 0;
    if (!fill(&methods[i], method, &desc->methods[i], entry, callable)) return 0;
    zend_hash_add_ptr(&entry->function_table, methods[i].key, &methods[i].php);
  }
  return !own || add_extras(c, host, desc->name);
}

/* [fiber; no; no] */
struct ssphp_functions *ssphp_functions_new(const ss_host_desc *host) {
  struct ssphp_functions *all = calloc(1, sizeof(*all));
  uint32_t count = 0;
  for (uint32_t i = 0; i < host->nmodules; i++) count += host->modules[i].nfunctions;
  if (all == NULL) return NULL;
  all->functions = calloc(count + 1, sizeof(*all->functions));
  all->classes = calloc(host->nclasses + 1, sizeof(*all->classes));
  if (all->functions == NULL || all->classes == NULL) return NULL;
  handlers_open();
  for (uint32_t i = 0; i < host->nmodules; i++) {
    const ss_module_desc *module = &host->modules[i];
    /* The library's own modules, but for what scripts are meant to have. */
    bool core = strcmp(module->name, "sidestack.core") == 0;
    if (strncmp(module->name, "sidestack.", 10) == 0 && !core) continue;
    for (uint32_t j = 0; j < module->nfunctions; j++) {
      const ss_function_desc *desc = &module->functions[j];
      if (core && ssphp_hidden(desc->name)) continue;
      uint32_t callable = core ? ssphp_callable_at(NULL, desc->name) : 0;
      if (!fill(&all->functions[all->nfunctions++], qualified(module->name, desc->name), desc, NULL, callable)) return NULL;
    }
  }
  for (uint32_t i = 0; i < host->nclasses; i++)
    if (!class_fill(&all->classes[all->nclasses++], host, i)) return NULL;
  return all;
}

/* Names stay: a class or function that a persistent script knew may be looked up by them. [interpreter thread; no; no] */
void ssphp_functions_free(struct ssphp_functions *all) {
  if (all == NULL) return;
  free(all->functions);
  free(all->classes);
  free(all);
}

/* [fiber; no; no] */
void ssphp_functions_add(struct ssphp_functions *all) {
  for (uint32_t i = 0; i < all->nfunctions; i++)
    zend_hash_add_ptr(CG(function_table), all->functions[i].key, &all->functions[i].php);
  for (uint32_t i = 0; i < all->nclasses; i++)
    if (zend_hash_add_ptr(CG(class_table), all->classes[i].key, all->classes[i].php) != NULL) all->classes[i].php->refcount++;
}

/* [fiber; no; no] */
void ssphp_functions_remove(struct ssphp_functions *all) {
  for (uint32_t i = 0; i < all->nfunctions; i++) zend_hash_del(CG(function_table), all->functions[i].key);
  for (uint32_t i = 0; i < all->nclasses; i++) {
    zend_class_entry *found = zend_hash_find_ptr(CG(class_table), all->classes[i].key);
    if (found == all->classes[i].php) zend_hash_del(CG(class_table), all->classes[i].key);
  }
}
