/*
 * Values across the border.
 *
 * PHP → host. A list is an array whose keys are 0..n-1 in order; all other arrays are maps. Closures, and other objects that
 * can be called, become slots of the reference table; host objects their keys. Of a plain object the public properties
 * cross, of a backed enum case its value, of an exception code, message and trace. By reference, arrays and objects
 * become slots too, so that the same value comes back.
 *
 * Strings go by pointer where the run is read while its maker's arguments live; nested ones too, because an array that
 * somebody else holds is never changed in place. (One in a PHP reference may be: those are copied.)
 *
 * Host → PHP. Plain construction. An object is claimed once it can be freed.
 */
#include "values.h"

#include <string.h>

#include "errors.h"
#include "object.h"
#include "page.h"
#include "refs.h"
#include "zend_closures.h"
#include "zend_enum.h"

enum { DEPTH = 100, CHUNK = 4000 };

typedef struct ssphp_bytes {
  struct ssphp_bytes *next;
  size_t used, capacity;
  char data[];
} ssphp_bytes;

static bool encode(ssphp_encoded *run, zval *value, int depth, bool copied);

/* [any; no; no] */
void ssphp_encode_begin(ssphp_encoded *run, int by_reference, int lasting) {
  run->values = run->small;
  run->entries = run->count = 0;
  run->capacity = SSPHP_SMALL;
  run->by_reference = by_reference;
  run->lasting = lasting;
  run->references = 0;
  run->bytes = NULL;
}

/* Index of a new entry. [fiber; no; may raise: memory] */
static uint32_t entry(ssphp_encoded *run, ss_value value) {
  if (run->entries == run->capacity) {
    uint32_t capacity = run->capacity * 2;
    if (run->values == run->small) {
      run->values = safe_pemalloc(capacity, sizeof(ss_value), 0, run->lasting);
      memcpy(run->values, run->small, sizeof(run->small));
    } else {
      run->values = safe_perealloc(run->values, capacity, sizeof(ss_value), 0, run->lasting);
    }
    run->capacity = capacity;
  }
  run->values[run->entries] = value;
  return run->entries++;
}

/* A copy that lives as long as the run. [fiber; no; may raise: memory] */
static const char *copy(ssphp_encoded *run, const char *from, size_t len) {
  ssphp_bytes *chunk = run->bytes;
  if (chunk == NULL || chunk->capacity - chunk->used < len) {
    size_t capacity = len > CHUNK / 2 ? len : CHUNK;
    chunk = safe_pemalloc(1, capacity, sizeof(*chunk), run->lasting);
    chunk->used = 0;
    chunk->capacity = capacity;
    chunk->next = run->bytes;
    run->bytes = chunk;
  }
  char *to = chunk->data + chunk->used;
  memcpy(to, from, len);
  chunk->used += len;
  return to;
}

/* [fiber; no; may raise: memory] */
void ssphp_encode_text(ssphp_encoded *run, const ss_value *text) {
  ss_value value = *text;
  if (value.tag == SS_STRING && run->lasting) value.as.bytes = copy(run, value.as.bytes, value.len);
  entry(run, value);
}

/* [fiber; no; may raise] */
static bool encode_string(ssphp_encoded *run, zend_string *string, bool copied) {
  if (ZSTR_LEN(string) > UINT32_MAX) {
    ssphp_throw("convert", "a string of 4 GiB or more cannot cross to the host");
    return false;
  }
  const char *bytes = ZSTR_VAL(string);
  if (copied || run->lasting) bytes = copy(run, bytes, ZSTR_LEN(string));
  entry(run, (ss_value){SS_STRING, (uint32_t)ZSTR_LEN(string), {.bytes = bytes}});
  return true;
}

/* [fiber; no; may raise] */
static bool encode_reference(ssphp_encoded *run, zval *value, uint32_t tag) {
  uint32_t at = entry(run, (ss_value){.tag = SS_NIL});
  ssphp_page *page = ssphp_page_here();
  if (page) ssphp_page_share(page);
  uint64_t slot = ssphp_ref_add(ssphp_here(), value);
  if (slot == 0) {
    ssphp_throw("memory", "not enough memory");
    return false;
  }
  run->values[at] = (ss_value){.tag = tag, .as.key = slot};
  run->references = 1;
  return true;
}

/* [fiber; no; may raise] */
static bool encode_array(ssphp_encoded *run, HashTable *array, int depth, bool copied) {
  if (depth > DEPTH) {
    ssphp_throw("convert", "nested too deeply or cyclic");
    return false;
  }
  bool list = zend_array_is_list(array);
  uint32_t head = entry(run, (ss_value){.tag = list ? SS_LIST : SS_MAP}), count = 0;
  zend_ulong index;
  zend_string *key;
  zval *value;
  ZEND_HASH_FOREACH_KEY_VAL_IND(array, index, key, value) {
    /* Names of properties that are not public begin with a zero byte. */
    if (key != NULL && ZSTR_LEN(key) > 0 && ZSTR_VAL(key)[0] == '\0') continue;
    if (!list && key == NULL) entry(run, (ss_value){.tag = SS_INT, .as.integer = (int64_t)index});
    if (!list && key != NULL && !encode_string(run, key, copied)) return false;
    if (!encode(run, value, depth + 1, copied)) return false;
    count++;
  } ZEND_HASH_FOREACH_END();
  run->values[head].len = count;
  return true;
}

/* [fiber; no; may raise] */
static bool encode_exception(ssphp_encoded *run, zend_object *exception) {
  static const char *const names[] = {"code", "message", "traceback"};
  ssphp_failure failure;
  ssphp_failure_of(exception, &failure);
  entry(run, (ss_value){.tag = SS_MAP, .len = 3});
  for (int i = 0; i < 3; i++) {
    entry(run, (ss_value){SS_STRING, (uint32_t)strlen(names[i]), {.bytes = names[i]}});
    ss_value value = failure.values[i];
    if (value.tag == SS_STRING) value.as.bytes = copy(run, value.as.bytes, value.len);
    entry(run, value);
  }
  ssphp_failure_end(&failure);
  return true;
}

/* [fiber; no; may raise] */
static bool encode_object(ssphp_encoded *run, zval *value, int depth) {
  zend_object *object = Z_OBJ_P(value);
  const ssphp_object *host = ssphp_object_of(object);
  if (host != NULL) {
    entry(run, (ss_value){.tag = SS_OBJECT, .len = host->class, .as.key = host->key});
    run->references = 1;
    return true;
  }
  if (object->ce == zend_ce_closure || zend_hash_find_known_hash(&object->ce->function_table, ZSTR_KNOWN(ZEND_STR_MAGIC_INVOKE)))
    return encode_reference(run, value, SS_FUNCTION);
  if (run->by_reference) return encode_reference(run, value, SS_REFERENCE);
  if (object->ce->ce_flags & ZEND_ACC_ENUM) {
    zval *of = object->ce->enum_backing_type == IS_UNDEF ? zend_enum_fetch_case_name(object) : zend_enum_fetch_case_value(object);
    return encode(run, of, depth, false);
  }
  if (instanceof_function(object->ce, zend_ce_throwable)) return encode_exception(run, object);
  if (depth > DEPTH) {
    ssphp_throw("convert", "nested too deeply or cyclic");
    return false;
  }
  HashTable *properties = zend_std_get_properties_ex(object);
  uint32_t head = run->entries;
  if (!encode_array(run, properties, depth, true)) return false;
  if (run->values[head].len > 0) return true;
  if (object->ce->type == ZEND_INTERNAL_CLASS && object->ce != zend_standard_class_def) {
    /* What it is does not show in properties: a generator, a connection. */
    ssphp_throw("convert", "an object of class %s cannot cross to the host", ZSTR_VAL(object->ce->name));
    return false;
  }
  run->values[head].tag = SS_MAP; /* an object is a map even if it has no properties */
  return true;
}

/* [fiber; no; may raise] */
static bool encode(ssphp_encoded *run, zval *value, int depth, bool copied) {
  switch (Z_TYPE_P(value)) {
    case IS_UNDEF:
    case IS_NULL:
      entry(run, (ss_value){.tag = SS_NIL});
      return true;
    case IS_FALSE:
    case IS_TRUE:
      entry(run, (ss_value){.tag = SS_BOOL, .as.integer = Z_TYPE_P(value) == IS_TRUE});
      return true;
    case IS_LONG:
      entry(run, (ss_value){.tag = SS_INT, .as.integer = Z_LVAL_P(value)});
      return true;
    case IS_DOUBLE:
      entry(run, (ss_value){.tag = SS_FLOAT, .as.number = Z_DVAL_P(value)});
      return true;
    case IS_STRING:
      return encode_string(run, Z_STR_P(value), copied);
    case IS_ARRAY:
      if (run->by_reference) return encode_reference(run, value, SS_REFERENCE);
      return encode_array(run, Z_ARRVAL_P(value), depth, copied);
    case IS_OBJECT:
      return encode_object(run, value, depth);
    case IS_REFERENCE:
      return encode(run, Z_REFVAL_P(value), depth, true);
    default:
      if (run->by_reference) return encode_reference(run, value, SS_REFERENCE);
      ssphp_throw("convert", "a value of type %s cannot cross to the host", zend_zval_type_name(value));
      return false;
  }
}

/* [fiber; no; may raise] */
bool ssphp_encode(ssphp_encoded *run, zval *value) {
  run->count++;
  return encode(run, value, 0, false);
}

/* [fiber; may suspend; may raise] */
void ssphp_encode_end(ssphp_encoded *run) {
  if (run->references) ssphp_refs_settle(ssphp_here(), run->values, run->entries);
  if (run->values != run->small) pefree(run->values, run->lasting);
  while (run->bytes != NULL) {
    ssphp_bytes *chunk = run->bytes;
    run->bytes = chunk->next;
    pefree(chunk, run->lasting);
  }
}

/* ---- host to PHP ---- */

/* [fiber; no; may raise] */
static void decode_reference(uint64_t key, zval *value) {
  ssphp_slot *slot = ssphp_ref(ssphp_here(), key);
  ZVAL_NULL(value);
  if (slot == NULL)
    ssphp_throw("stale", "a value whose request has ended");
  else if (slot->context != ssphp_current())
    ssphp_throw("wrong_request", "a value of another request");
  else
    ZVAL_COPY(value, &slot->value);
}

/* A key of a map. [fiber; no; may raise] */
static const ss_value *decode_pair(const ss_value *from, HashTable *array) {
  zval key, value;
  const ss_value *at = ssphp_decode(from, &key);
  at = ssphp_decode(at, &value);
  switch (Z_TYPE(key)) {
    case IS_STRING:
      zend_symtable_update(array, Z_STR(key), &value);
      break;
    case IS_LONG:
      zend_hash_index_update(array, (zend_ulong)Z_LVAL(key), &value);
      break;
    case IS_DOUBLE:
    case IS_TRUE:
    case IS_FALSE:
      zend_hash_index_update(array, (zend_ulong)zval_get_long(&key), &value);
      break;
    default: /* nothing else can be a key */
      zval_ptr_dtor(&value);
  }
  zval_ptr_dtor(&key);
  return at;
}

/* [fiber; no; may raise] */
const ss_value *ssphp_decode(const ss_value *from, zval *value) {
  switch (from->tag & ~SS_CLAIMED) {
    case SS_BOOL:
      ZVAL_BOOL(value, from->as.integer != 0);
      return from + 1;
    case SS_INT:
      ZVAL_LONG(value, from->as.integer);
      return from + 1;
    case SS_FLOAT:
      ZVAL_DOUBLE(value, from->as.number);
      return from + 1;
    case SS_STRING:
    case SS_BYTES:
      ZVAL_STRINGL_FAST(value, from->as.bytes, from->len);
      return from + 1;
    case SS_FUNCTION:
    case SS_REFERENCE:
      decode_reference(from->as.key, value);
      return from + 1;
    case SS_OBJECT:
      ssphp_object_new(from, value);
      return from + 1;
    case SS_LIST: {
      uint32_t count = from->len;
      array_init_size(value, count);
      from++;
      for (uint32_t i = 0; i < count; i++) {
        zval item;
        from = ssphp_decode(from, &item);
        zend_hash_next_index_insert_new(Z_ARRVAL_P(value), &item);
      }
      return from;
    }
    case SS_MAP: {
      uint32_t count = from->len;
      array_init_size(value, count);
      from++;
      for (uint32_t i = 0; i < count; i++) from = decode_pair(from, Z_ARRVAL_P(value));
      return from;
    }
    default: /* SS_NIL, SS_NULL */
      ZVAL_NULL(value);
      return from + 1;
  }
}
