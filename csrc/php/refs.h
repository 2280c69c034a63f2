/* The interpreter's reference table: PHP values that the host refers to. */
#ifndef SIDESTACK_PHP_REFS_H
#define SIDESTACK_PHP_REFS_H

#include "inner.h"

/* The key of a slot of the loaded context for a value; 0: no memory. [fiber; no; no] */
uint64_t ssphp_ref_add(ssphp *home, zval *value);

/* The slot of a key, if it is still that; else NULL. [fiber; no; no] */
ssphp_slot *ssphp_ref(ssphp *home, uint64_t key);

/* Frees a slot; its context is loaded. Destructors may run. [fiber; may suspend; may raise] */
void ssphp_ref_remove(ssphp *home, uint64_t key);

/* The call that had the values is over: references that the host took are its own now, the others go.
   [fiber; may suspend; may raise] */
void ssphp_refs_settle(ssphp *home, ss_value *values, uint32_t entries);

/* The host gives up all that it refers to in a context. [fiber; no; no] */
void ssphp_refs_unclaim(ssphp_context *context);

/* The request ends: nothing refers to its values any more. [fiber; no; no] */
void ssphp_refs_sweep(ssphp_context *context);

#endif
