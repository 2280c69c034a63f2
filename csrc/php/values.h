/* Values across the border, both ways. */
#ifndef SIDESTACK_PHP_VALUES_H
#define SIDESTACK_PHP_VALUES_H

#include "inner.h"

enum { SSPHP_SMALL = 8 };

/* A run of values being made. */
typedef struct ssphp_encoded {
  ss_value *values;
  uint32_t entries, capacity; /* all entries */
  uint32_t count;             /* top-level values */
  int by_reference;           /* as SS_BY_REFERENCE */
  int lasting;                /* it outlives the request: in plain C memory, strings copied */
  int references;             /* some of them are references or host objects: the request is to live until they are read */
  struct ssphp_bytes *bytes;  /* copied strings */
  ss_value small[SSPHP_SMALL];
} ssphp_encoded;

/* [any; no; no] */
void ssphp_encode_begin(ssphp_encoded *run, int by_reference, int lasting);

/* Adds a top-level value. False: it cannot cross, and an exception says so. [fiber; no; may raise] */
bool ssphp_encode(ssphp_encoded *run, zval *value);

/* Adds a string that is copied if the run is lasting. [fiber; no; may raise: memory] */
void ssphp_encode_text(ssphp_encoded *run, const ss_value *text);

/* Who had the values has read them: unclaimed references go, and the run's memory. [fiber; may suspend; may raise] */
void ssphp_encode_end(ssphp_encoded *run);

/* Makes one value, and returns what follows it. An exception may be thrown; the value is null then. [fiber; no; may raise] */
const ss_value *ssphp_decode(const ss_value *from, zval *value);

#endif
