/*
 * The reference table, in plain C memory. A slot belongs to a context: its value is on that context's heap. The host's claim
 * on a slot keeps the context's request open, but for what shutdown functions give out: that goes with the request, and the
 * host finds out later. So a key is a slot and its generation.
 */
#include "refs.h"

#include <stdlib.h>

/* [any; no; no] */
static uint32_t at_of(uint64_t key) { return (uint32_t)key; }

/* [fiber; no; no] */
uint64_t ssphp_ref_add(ssphp *home, zval *value) {
  if (home->free_slot == 0) {
    if (home->nslots == home->slots_cap) {
      uint32_t cap = home->slots_cap ? home->slots_cap * 2 : 64;
      ssphp_slot *grown = realloc(home->slots, cap * sizeof(*grown));
      if (grown == NULL) return 0;
      home->slots = grown;
      home->slots_cap = cap;
    }
    if (home->nslots == 0) home->nslots = 1; /* slot 0 is not used */
    home->slots[home->nslots].next_free = 0;
    home->slots[home->nslots].generation = 0;
    home->slots[home->nslots].context = NULL;
    home->free_slot = home->nslots++;
  }
  uint32_t at = home->free_slot;
  ssphp_slot *slot = &home->slots[at];
  home->free_slot = slot->next_free;
  slot->context = home->loaded;
  slot->context->slots++;
  slot->claimed = false;
  ZVAL_COPY(&slot->value, value);
  return (uint64_t)slot->generation << 32 | at;
}

/* [fiber; no; no] */
ssphp_slot *ssphp_ref(ssphp *home, uint64_t key) {
  uint32_t at = at_of(key);
  if (at == 0 || at >= home->nslots || home->slots[at].context == NULL) return NULL;
  return home->slots[at].generation == key >> 32 ? &home->slots[at] : NULL;
}

/* Frees a slot and hands out its value. [fiber; no; no] */
static void take(ssphp *home, uint32_t at, zval *value) {
  ssphp_slot *slot = &home->slots[at];
  ZVAL_COPY_VALUE(value, &slot->value);
  if (slot->claimed) slot->context->references--;
  slot->context->slots--;
  slot->context = NULL;
  slot->generation++;
  slot->next_free = home->free_slot;
  home->free_slot = at;
}

/* [fiber; may suspend; may raise] */
void ssphp_ref_remove(ssphp *home, uint64_t key) {
  zval value;
  if (ssphp_ref(home, key) == NULL) return;
  take(home, at_of(key), &value);
  zval_ptr_dtor(&value); /* last: what it runs may use the table */
}

/* [fiber; may suspend; may raise] */
void ssphp_refs_settle(ssphp *home, ss_value *values, uint32_t entries) {
  for (uint32_t i = 0; i < entries; i++) {
    uint32_t tag = values[i].tag & ~SS_CLAIMED;
    if (tag != SS_FUNCTION && tag != SS_REFERENCE) continue;
    ssphp_slot *slot = ssphp_ref(home, values[i].as.key);
    if (slot == NULL) continue;
    if (values[i].tag & SS_CLAIMED) {
      slot->claimed = true;
      slot->context->references++;
    } else {
      uint64_t key = values[i].as.key;
      values[i].tag = SS_NIL;
      ssphp_ref_remove(home, key);
    }
  }
}

/* [fiber; no; no] */
void ssphp_refs_unclaim(ssphp_context *context) {
  ssphp *home = context->home;
  for (uint32_t i = 1; i < home->nslots; i++)
    if (home->slots[i].context == context) home->slots[i].claimed = false;
  context->references = 0;
}

/* [fiber; no; no] */
void ssphp_refs_sweep(ssphp_context *context) {
  ssphp *home = context->home;
  for (uint32_t i = 1; i < home->nslots && context->slots > 0; i++) {
    zval value; /* it goes with the request's heap */
    if (home->slots[i].context == context) take(home, i, &value);
  }
}
