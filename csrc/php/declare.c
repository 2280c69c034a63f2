/*
 * What PHP is told of the host's functions and classes.
 *
 * Function `nap` of module `app` is the PHP function app\nap; those of sidestack.core are in the namespace Sidestack. All have
 * one handler, and keep their number in a word that the engine reserves for extensions. A context gets them when it is
 * made, in front of what its requests declare, so they stay. Their structures are the interpreter's: no context frees them.
 */
#include "declare.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "library.h"
#include "object.h"
#include "start.h"

int ssphp_reserved;

typedef struct function {
  zend_internal_function php;
  zend_string *key; /* its name in lower case */
} function;

typedef struct class {
  zend_class_entry *php;
  zend_string *key;
  function *methods;
  uint32_t nmethods;
} class;

struct ssphp_functions {
  uint32_t nfunctions, nclasses;
  function *functions;
  class *classes;
};

/* mixed ...$args */
ZEND_BEGIN_ARG_INFO_EX(any_arguments, 0, 0, 0)
  ZEND_ARG_VARIADIC_INFO(0, args)
ZEND_END_ARG_INFO()

/* All names that there ever were in the process: scripts in opcache's memory may know them, and interpreters come and go. */
static struct {
  pthread_mutex_t lock;
  zend_string **names;
  size_t count, room;
} known = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A string that is as good as one of the engine's own. [any; no; no] */
static zend_string *string_new(const char *text, size_t len) {
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

/* Adds it, with the lock held. [any; no; no] */
static zend_string *add(zend_string *name) {
  if (name != NULL && known.count == known.room) {
    size_t room = known.room ? known.room * 2 : 256;
    zend_string **grown = realloc(known.names, room * sizeof(*grown));
    if (grown == NULL) {
      free(name);
      return NULL;
    }
    known.names = grown;
    known.room = room;
  }
  if (name != NULL) known.names[known.count++] = name;
  return name;
}

/* The one string of that text, which is never freed; NULL: no memory. [any; no; no] */
static zend_string *name_new(const char *text, size_t len) {
  zend_ulong hash = zend_hash_func(text, len);
  zend_string *name = NULL;
  pthread_mutex_lock(&known.lock);
  for (size_t i = 0; i < known.count && name == NULL; i++)
    if (ZSTR_H(known.names[i]) == hash && zend_string_equals_cstr(known.names[i], text, len)) name = known.names[i];
  if (name == NULL) name = add(string_new(text, len));
  pthread_mutex_unlock(&known.lock);
  return name;
}

/* The same in lower case. [any; no; no] */
static zend_string *key_new(const zend_string *name) {
  char *lower = malloc(ZSTR_LEN(name) + 1);
  if (lower == NULL) return NULL;
  zend_str_tolower_copy(lower, ZSTR_VAL(name), ZSTR_LEN(name));
  zend_string *key = name_new(lower, ZSTR_LEN(name));
  free(lower);
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
  f->php.handler = ssphp_host_function;
  f->php.module = &ssphp_module;
  f->php.reserved[ssphp_reserved] = (void *)((uintptr_t)callable << 40 | (uintptr_t)desc->flags << 32 | desc->id);
  return f->key != NULL;
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
    function *method = &c->methods[c->nmethods++];
    if (!fill(method, name_new(extra->name, strlen(extra->name)), desc, c->php, 0)) return 0;
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
  c->methods = calloc(desc->nmethods + SSPHP_EXTRAS, sizeof(*c->methods));
  c->php = entry;
  if (name == NULL || entry == NULL || c->methods == NULL || (c->key = key_new(name)) == NULL) return 0;
  entry->type = ZEND_INTERNAL_CLASS;
  entry->name = name;
  zend_initialize_class_data(entry, 1);
  entry->ce_flags |= ZEND_ACC_LINKED | ZEND_ACC_RESOLVED_PARENT | ZEND_ACC_RESOLVED_INTERFACES | ZEND_ACC_FINAL |
                     ZEND_ACC_NO_DYNAMIC_PROPERTIES | ZEND_ACC_NOT_SERIALIZABLE;
  entry->create_object = ssphp_object_create;
  entry->info.internal.module = &ssphp_module;
  entry->default_object_handlers = &ssphp_object_handlers;
  for (uint32_t i = 0; i < desc->nmethods; i++) {
    /* Names with two underscores are for guests that have such: PHP's magic methods have fixed signatures. */
    if (strncmp(desc->methods[i].name, "__", 2) == 0) continue;
    function *method = &c->methods[c->nmethods++];
    uint32_t callable = own ? ssphp_callable_at(desc->name, desc->methods[i].name) : 0;
    zend_string *called = name_new(desc->methods[i].name, strlen(desc->methods[i].name));
    if (!fill(method, called, &desc->methods[i], entry, callable)) return 0;
    zend_hash_add_ptr(&entry->function_table, method->key, &method->php);
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

uint64_t ssphp_functions_set(const struct ssphp_functions *all) {
  uint64_t set = 1;
  for (uint32_t i = 0; i < all->nfunctions; i++) set = set * 0x9e3779b97f4a7c15u + ZSTR_H(all->functions[i].key);
  for (uint32_t i = 0; i < all->nclasses; i++) set = set * 0x9e3779b97f4a7c15u + ~ZSTR_H(all->classes[i].key);
  return set | 1;
}

/* No context has them any more. [interpreter thread; no; no] */
void ssphp_functions_free(struct ssphp_functions *all) {
  if (all == NULL) return;
  for (uint32_t i = 0; i < all->nclasses; i++) {
    zend_hash_destroy(&all->classes[i].php->function_table);
    zend_hash_destroy(&all->classes[i].php->properties_info);
    zend_hash_destroy(&all->classes[i].php->constants_table);
    free(all->classes[i].php);
    free(all->classes[i].methods);
  }
  free(all->functions);
  free(all->classes);
  free(all);
}

/* [fiber; no; no] */
zend_class_entry *ssphp_class(const struct ssphp_functions *all, uint32_t number) {
  return number < all->nclasses ? all->classes[number].php : NULL;
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
