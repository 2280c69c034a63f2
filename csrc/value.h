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

/* Set in `tag` by the host when it has taken a function or reference over and will release it itself. */
#define SS_CLAIMED 0x80000000u

typedef sidestack_value ss_value;

#endif
