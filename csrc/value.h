/*
 * Plain tagged values: how arguments and results cross between a guest's shim and the host. They are the public ones
 * (sidestack.h), under the names that the shims use, and a mark.
 */
#ifndef SIDESTACK_VALUE_H
#define SIDESTACK_VALUE_H

#include "sidestack.h"

enum ss_tag {
  SS_NIL = SIDESTACK_NIL,
  SS_NULL = SIDESTACK_NULL,
  SS_BOOL = SIDESTACK_BOOL,
  SS_INT = SIDESTACK_INT,
  SS_FLOAT = SIDESTACK_FLOAT,
  SS_STRING = SIDESTACK_STRING,
  SS_BYTES = SIDESTACK_BYTES,
  SS_LIST = SIDESTACK_LIST,
  SS_MAP = SIDESTACK_MAP,
  SS_FUNCTION = SIDESTACK_FUNCTION,   /* as.key: slot of a guest function in its interpreter's reference table */
  SS_REFERENCE = SIDESTACK_REFERENCE, /* as.key: slot of any other guest value passed by reference */
  SS_OBJECT = SIDESTACK_OBJECT,       /* as.key: handle of a host object; len: its class */
};

/*
 * Set in `tag` by who has taken a value over and will release it itself: by the host on functions and references that the
 * guest gives it, by the guest on objects that the host gives it. Of a run that goes to the guest, objects
 * nobody claimed are released when the run ends: a host call's results at ss_host_end(), or when their frame
 * is found to be gone; the arguments of SS_CALL_GUEST at ss_host_answer(); a fiber's own arguments after ss_return(). So
 * C that keeps an object longer claims it, and releases it with ss_object_release() later.
 */
#define SS_CLAIMED 0x80000000u

typedef sidestack_value ss_value;

/* Takes over an object of a run that the host gave; the host keeps runs in memory that may be written to. [any; no; no] */
static inline void ss_claim(const ss_value *object) { sidestack_keep(object); }

#endif
