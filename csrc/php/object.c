/*
 * Host objects. A PHP object holds the key of one; the host is told when it is freed. Getters are read like properties. All
 * classes share their handlers.
 */
#include "object.h"

#include <string.h>

#include "declare.h"
#include "errors.h"
#include "host.h"

zend_object_handlers ssphp_object_handlers;

/* [fiber; no; no] */
ssphp_object *ssphp_object_of(zend_object *object) {
  return object->handlers == &ssphp_object_handlers ? (ssphp_object *)((char *)object - XtOffsetOf(ssphp_object, std)) : NULL;
}

/* [fiber; no; may raise: memory] */
zend_object *ssphp_object_create(zend_class_entry *class) {
  ssphp_object *object = zend_object_alloc(sizeof(*object), class);
  object->key = 0;
  object->class = 0;
  zend_object_std_init(&object->std, class);
  object_properties_init(&object->std, class);
  object->std.handlers = &ssphp_object_handlers;
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

/* The getter of that name; NULL: there is none. [fiber; no; no] */
static const ss_function_desc *getter_of(zend_object *object, zend_string *name) {
  const ss_host_desc *desc = ssphp_here()->host;
  uint32_t number = ssphp_object_of(object)->class;
  if (number >= desc->nclasses) return NULL;
  const ss_class_desc *class = &desc->classes[number];
  for (uint32_t i = 0; i < class->ngetters; i++)
    if (zend_string_equals_cstr(name, class->getters[i].name, strlen(class->getters[i].name))) return &class->getters[i];
  return NULL;
}

/* [fiber; may suspend; may raise] */
static void get(zend_object *object, const ss_function_desc *getter, zval *result) {
  zval this;
  ZVAL_OBJ(&this, object);
  ZVAL_NULL(result);
  ssphp_host_call(getter->id, getter->flags & SS_BY_REFERENCE, &this, NULL, 0, result);
}

/* Getters are read like properties. [fiber; may suspend; may raise] */
static zval *object_read(zend_object *object, zend_string *name, int type, void **cache, zval *result) {
  const ss_function_desc *getter = getter_of(object, name);
  if (getter == NULL) return zend_std_read_property(object, name, type, cache, result);
  get(object, getter, result);
  return result;
}

/* isset() and empty(). [fiber; may suspend; may raise] */
static int object_has(zend_object *object, zend_string *name, int mode, void **cache) {
  const ss_function_desc *getter = getter_of(object, name);
  if (getter == NULL) return zend_std_has_property(object, name, mode, cache);
  if (mode == ZEND_PROPERTY_EXISTS) return 1;
  zval value;
  get(object, getter, &value);
  int has = mode == ZEND_PROPERTY_NOT_EMPTY ? zend_is_true(&value) : Z_TYPE(value) != IS_NULL;
  zval_ptr_dtor(&value);
  return has;
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
  zend_class_entry *class = ssphp_class(home->functions, from->len);
  if (class == NULL) {
    ssphp_throw("convert", "unknown class of host object");
    return;
  }
  ZVAL_OBJ(value, ssphp_object_create(class));
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

/* [PHP's start; no; no] */
void ssphp_objects_open(void) {
  memcpy(&ssphp_object_handlers, zend_get_std_object_handlers(), sizeof(ssphp_object_handlers));
  ssphp_object_handlers.offset = XtOffsetOf(ssphp_object, std);
  ssphp_object_handlers.free_obj = object_free;
  ssphp_object_handlers.clone_obj = NULL;
  ssphp_object_handlers.read_property = object_read;
  ssphp_object_handlers.has_property = object_has;
  ssphp_object_handlers.write_property = object_write;
  ssphp_object_handlers.compare = object_compare;
  ssphp_object_handlers.get_constructor = constructor;
}
