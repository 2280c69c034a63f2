/*
 * Time limits of requests: max_execution_time and set_time_limit(). PHP calls these two where it would set a timer of the
 * process; the names are weak in its own objects.
 */
#include "inner.h"

/* [fiber; no; no] */
void zend_set_timeout(zend_long seconds, bool reset_signals) {
  (void)reset_signals;
  EG(timeout_seconds) = seconds;
  zend_atomic_bool_store_ex(&EG(timed_out), false);
}

/* [fiber; no; no] */
void zend_unset_timeout(void) { zend_atomic_bool_store_ex(&EG(timed_out), false); }
