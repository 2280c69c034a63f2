/*
 * Plain tagged values: how arguments and results cross between a guest's shim and the host.
 *
 * A value is a run of `ss_value` in pre-order. Scalars take one entry. A list is its head (`len` = number of items)
 * and then the items; a map is its head (`len` = number of pairs) and then key, value, key, value. Strings are
 * pointer and length, not terminated, and stay the property of whoever made the run.
 */
#ifndef SIDESTACK_VALUE_H
#define SIDESTACK_VALUE_H

#include <stdint.h>

enum ss_tag {
  SS_NIL = 0,       /* absence */
  SS_NULL = 1,      /* an explicit null: JSON's null, a hole in a list */
  SS_BOOL = 2,      /* as.integer is 0 or 1 */
  SS_INT = 3,       /* as.integer */
  SS_FLOAT = 4,     /* as.number */
  SS_STRING = 5,    /* as.bytes, len: text; Lua strings always have this tag, whatever their bytes */
  SS_BYTES = 6,     /* as.bytes, len: bytes that are not text, where the guest can tell them apart */
  SS_LIST = 7,      /* len items follow */
  SS_MAP = 8,       /* len pairs follow */
  SS_FUNCTION = 9,  /* as.key: slot of a guest function in its interpreter's reference table */
  SS_REFERENCE = 10,/* as.key: slot of any other guest value passed by reference */
  SS_OBJECT = 11,   /* as.key: handle of a host object; len: its class */
};

/*
 * Set in `tag` by who has taken a value over and will release it itself: by the host on functions and references that the
 * guest gives it, by the guest on objects that the host gives it. Of a run that goes to the guest, objects
 * nobody claimed are released when the run ends: a host call's results at ss_host_end(), or when their frame
 * is found to be gone; the arguments of SS_CALL_GUEST at ss_host_answer(); a fiber's own arguments after ss_return(). So
 * C that keeps an object longer claims it, and releases it with ss_object_release() later.
 */
#define SS_CLAIMED 0x80000000u

typedef struct ss_value {
  uint32_t tag; /* enum ss_tag, perhaps with SS_CLAIMED */
  uint32_t len;
  union {
    int64_t integer;
    double number;
    const char *bytes;
    uint64_t key;
  } as;
} ss_value;

/* Takes over an object of a run that the host gave; the host keeps runs in memory that may be written to. [any; no; no] */
static inline void ss_claim(const ss_value *object) { ((ss_value *)object)->tag |= SS_CLAIMED; }

#endif
