/*
 * The library in PHP's own ways: constructors (new Channel(16)), Group::run(), foreach over a channel, Http with named
 * arguments. Everything is a call of a host function of sidestack.core in the end.
 */
#include "library.h"

#include <string.h>

#include "declare.h"
#include "errors.h"
#include "host.h"
#include "object.h"
#include "values.h"
#include "zend_closures.h"
#include "zend_interfaces.h"

/* [any; no; no] */
bool ssphp_hidden(const char *function) {
  static const char *const hidden[] = {"module_wait", "module_done", "json_encode", "json_decode", "http_request"};
  for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++)
    if (strcmp(function, hidden[i]) == 0) return true;
  return false;
}

/* [any; no; no] */
uint32_t ssphp_callable_at(const char *class, const char *function) {
  static const struct {
    const char *class, *function;
    uint32_t at;
  } all[] = {{NULL, "spawn", 1}, {NULL, "background", 1}, {NULL, "group", 1}, {NULL, "timeout", 2}, {"Group", "spawn", 1}};
  for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
    if ((class == NULL) == (all[i].class == NULL) && (class == NULL || strcmp(class, all[i].class) == 0) &&
        strcmp(function, all[i].function) == 0)
      return all[i].at;
  return 0;
}

/* [fiber; no; may raise] */
bool ssphp_closure(zval *callable) {
  zval closure;
  if (Z_TYPE_P(callable) == IS_OBJECT) return true;
  ZVAL_UNDEF(&closure);
  zend_call_method_with_1_params(NULL, zend_ce_closure, NULL, "fromcallable", &closure, callable);
  if (EG(exception) != NULL) return false;
  zval_ptr_dtor(callable);
  ZVAL_COPY_VALUE(callable, &closure);
  return true;
}

/* ---- methods ---- */

/* The number of the host function behind the method that runs. [fiber; no; no] */
static uint32_t behind(const zend_execute_data *execute_data) {
  return (uint32_t)(uintptr_t)EX(func)->internal_function.reserved[ssphp_reserved];
}

/* new Channel(16), new Mutex, new Semaphore(3): the host's function makes one, and this object becomes it.
   [fiber; may suspend; may raise] */
static ZEND_NAMED_FUNCTION(construct) {
  zval made;
  ZVAL_NULL(&made);
  ssphp_host_call(behind(execute_data), 0, NULL, ZEND_CALL_ARG(execute_data, 1), ZEND_NUM_ARGS(), &made);
  ssphp_object *of = Z_TYPE(made) == IS_OBJECT ? ssphp_object_of(Z_OBJ(made)) : NULL;
  if (EG(exception) == NULL && of != NULL) {
    ssphp_object *object = ssphp_object_of(Z_OBJ_P(ZEND_THIS));
    uint64_t key = object->key;
    object->key = of->key;
    object->class = of->class;
    of->key = key; /* freed with what was made, if there was one */
  }
  zval_ptr_dtor(&made);
  (void)return_value;
}

/* Group::run($body). [fiber; may suspend; may raise] */
static ZEND_NAMED_FUNCTION(group_run) {
  zval *body = ZEND_CALL_ARG(execute_data, 1);
  if (ZEND_NUM_ARGS() != 1) {
    ssphp_throw("bad_argument", "Group::run() takes the group's body");
    return;
  }
  if (ssphp_closure(body)) ssphp_host_call(behind(execute_data), 1, NULL, body, 1, return_value);
}

ZEND_BEGIN_ARG_INFO_EX(channel_arguments, 0, 0, 0)
  ZEND_ARG_INFO_WITH_DEFAULT_VALUE(0, capacity, "null")
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_INFO_EX(mutex_arguments, 0, 0, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_INFO_EX(semaphore_arguments, 0, 0, 1)
  ZEND_ARG_INFO(0, permits)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_INFO_EX(group_arguments, 0, 0, 1)
  ZEND_ARG_INFO(0, body)
ZEND_END_ARG_INFO()

const ssphp_extra ssphp_extras[] = {
    {"Channel", "__construct", "channel", construct, channel_arguments, 0, 1, ZEND_ACC_CTOR},
    {"Mutex", "__construct", "mutex", construct, mutex_arguments, 0, 0, ZEND_ACC_CTOR},
    {"Semaphore", "__construct", "semaphore", construct, semaphore_arguments, 1, 1, ZEND_ACC_CTOR},
    {"Group", "run", "group", group_run, group_arguments, 1, 1, ZEND_ACC_STATIC},
    {0},
};

/* ---- foreach over a channel ---- */

typedef struct messages {
  zend_object_iterator base;
  zval now;
  zend_ulong taken;
} messages;

/* [fiber; no; may raise] */
static void messages_free(zend_object_iterator *iterator) {
  zval_ptr_dtor(&((messages *)iterator)->now);
  zval_ptr_dtor(&iterator->data);
}

/* [fiber; may suspend; may raise] */
static void messages_next(zend_object_iterator *iterator) {
  messages *all = (messages *)iterator;
  zval_ptr_dtor(&all->now);
  ZVAL_NULL(&all->now);
  zend_call_method_with_0_params(Z_OBJ(iterator->data), Z_OBJCE(iterator->data), NULL, "recv", &all->now);
  all->taken++;
}

/* Null is what a closed channel gives. [fiber; no; no] */
static zend_result messages_valid(zend_object_iterator *iterator) {
  return Z_TYPE(((messages *)iterator)->now) > IS_NULL ? SUCCESS : FAILURE;
}

/* [fiber; no; no] */
static zval *messages_now(zend_object_iterator *iterator) { return &((messages *)iterator)->now; }

/* [fiber; no; no] */
static void messages_key(zend_object_iterator *iterator, zval *key) {
  ZVAL_LONG(key, (zend_long)((messages *)iterator)->taken - 1);
}

static const zend_object_iterator_funcs messages_functions = {
    .dtor = messages_free,
    .valid = messages_valid,
    .get_current_data = messages_now,
    .get_current_key = messages_key,
    .move_forward = messages_next,
    .rewind = messages_next,
};

/* [fiber; no; may raise] */
zend_object_iterator *ssphp_channel_iterator(zend_class_entry *class, zval *object, int by_reference) {
  (void)class;
  if (by_reference) {
    ssphp_throw("bad_argument", "a channel's messages are not taken by reference");
    return NULL;
  }
  messages *all = emalloc(sizeof(*all));
  zend_iterator_init(&all->base);
  ZVAL_OBJ_COPY(&all->base.data, Z_OBJ_P(object));
  all->base.funcs = &messages_functions;
  ZVAL_UNDEF(&all->now);
  all->taken = 0;
  return &all->base;
}

/* ---- Http ---- */

/* Takes an option over into the request, unless it is null. [fiber; no; no] */
static void option(HashTable *request, const char *name, zval *value) {
  if (value == NULL || Z_TYPE_P(value) <= IS_NULL) return;
  Z_TRY_ADDREF_P(value);
  zend_hash_str_update(request, name, strlen(name), value);
}

/* What the methods of Http are given; NULL: it is not. */
typedef struct asked {
  zval *url, *body, *headers, *timeout, *redirects;
} asked;

/* The options that all of them take: their types for zend_parse_parameters(), their places, and how they are declared. */
#define OPTIONS "azz"
#define OPTION_PLACES(asked) &(asked).headers, &(asked).timeout, &(asked).redirects
#define OPTION_ARGUMENTS \
  ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, headers, IS_ARRAY, 0, "[]") \
  ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, timeout, IS_DOUBLE, 1, "null") \
  ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, redirects, _IS_BOOL, 1, "null")

/* [fiber; may suspend; may raise] */
static void request(const char *method, const asked *asked, zval *return_value) {
  int64_t id = ss_function_id("sidestack.core.http_request");
  if (id < 0) {
    ssphp_throw("no_http", "http is not built in (cargo feature `tokio`)");
    return;
  }
  bool headers = asked->headers != NULL && zend_hash_num_elements(Z_ARRVAL_P(asked->headers)) > 0;
  zval options, value;
  array_init(&options);
  ZVAL_STRING(&value, method);
  zend_hash_str_update(Z_ARRVAL(options), ZEND_STRL("method"), &value);
  option(Z_ARRVAL(options), "url", asked->url);
  option(Z_ARRVAL(options), "body", asked->body);
  option(Z_ARRVAL(options), "headers", headers ? asked->headers : NULL);
  option(Z_ARRVAL(options), "timeout", asked->timeout);
  option(Z_ARRVAL(options), "redirects", asked->redirects);
  ssphp_host_call((uint32_t)id, 0, NULL, &options, 1, return_value);
  zval_ptr_dtor(&options);
  /* Its parts read as properties: $response->status, ->headers, ->body. */
  if (Z_TYPE_P(return_value) == IS_ARRAY) convert_to_object(return_value);
}

ZEND_BEGIN_ARG_INFO_EX(get_arguments, 0, 0, 1)
  ZEND_ARG_TYPE_INFO(0, url, IS_STRING, 0)
  OPTION_ARGUMENTS
ZEND_END_ARG_INFO()

ZEND_BEGIN_ARG_INFO_EX(post_arguments, 0, 0, 1)
  ZEND_ARG_TYPE_INFO(0, url, IS_STRING, 0)
  ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, body, IS_STRING, 1, "null")
  OPTION_ARGUMENTS
ZEND_END_ARG_INFO()

ZEND_BEGIN_ARG_INFO_EX(request_arguments, 0, 0, 2)
  ZEND_ARG_TYPE_INFO(0, method, IS_STRING, 0)
  ZEND_ARG_TYPE_INFO(0, url, IS_STRING, 0)
  ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, body, IS_STRING, 1, "null")
  OPTION_ARGUMENTS
ZEND_END_ARG_INFO()

/* Http::get($url, headers: [], timeout: null, redirects: null). [fiber; may suspend; may raise] */
static ZEND_METHOD(Http, get) {
  asked asked = {0};
  if (zend_parse_parameters(ZEND_NUM_ARGS(), "z|" OPTIONS, &asked.url, OPTION_PLACES(asked)) == SUCCESS)
    request("GET", &asked, return_value);
}

/* Http::post($url, body: null, headers: [], timeout: null, redirects: null). [fiber; may suspend; may raise] */
static ZEND_METHOD(Http, post) {
  asked asked = {0};
  if (zend_parse_parameters(ZEND_NUM_ARGS(), "z|z" OPTIONS, &asked.url, &asked.body, OPTION_PLACES(asked)) == SUCCESS)
    request("POST", &asked, return_value);
}

/* Http::request($method, $url, ...). [fiber; may suspend; may raise] */
static ZEND_METHOD(Http, request) {
  asked asked = {0};
  char *method;
  size_t len;
  if (zend_parse_parameters(ZEND_NUM_ARGS(), "sz|z" OPTIONS, &method, &len, &asked.url, &asked.body, OPTION_PLACES(asked)) ==
      SUCCESS)
    request(method, &asked, return_value);
}

static const zend_function_entry http_methods[] = {
  ZEND_ME(Http, get, get_arguments, ZEND_ACC_PUBLIC | ZEND_ACC_STATIC)
  ZEND_ME(Http, post, post_arguments, ZEND_ACC_PUBLIC | ZEND_ACC_STATIC)
  ZEND_ME(Http, request, request_arguments, ZEND_ACC_PUBLIC | ZEND_ACC_STATIC)
  ZEND_FE_END
};

/* [PHP's start; no; no] */
void ssphp_library_register(void) {
  zend_class_entry entry;
  INIT_CLASS_ENTRY(entry, "Sidestack\\Http", http_methods);
  zend_register_internal_class_ex(&entry, NULL)->ce_flags |= ZEND_ACC_FINAL;
}
