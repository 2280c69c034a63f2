/*
 * The functions of PHP's extension zend_test that its tests of stack limits call, told of the stack that the request has: here
 * a fiber's.
 */
#include <stdint.h>

#include "php.h"
#include "SAPI.h"

#include "phpt.h"
#include "sidestack.h"

/* [fiber; no; may raise: memory] */
static void add_address(zval *array, const char *name, uintptr_t address) {
  add_assoc_str(array, name, zend_strpprintf(0, "0x%zx", (size_t)address));
}

/* [fiber; no; may raise: memory] */
static ZEND_FUNCTION(zend_test_zend_call_stack_get) {
  uintptr_t base, limit;
  ZEND_PARSE_PARAMETERS_NONE();
  if (sidestack_stack(&base, &limit) != SIDESTACK_OK) RETURN_NULL();
  /* Stacks begin a little below their first page's end, each elsewhere, for the caches' sake. */
  base = (base + 4095) & ~(uintptr_t)4095;
  array_init(return_value);
  add_address(return_value, "base", base);
  add_address(return_value, "max_size", base - limit);
  add_address(return_value, "position", (uintptr_t)__builtin_frame_address(0));
  add_address(return_value, "EG(stack_limit)", (uintptr_t)EG(stack_limit));
}

/* Goes down to the last page of the stack; how deep that was. Not a tail call. [fiber; no; no] */
static __attribute__((noinline)) zend_long use_all(uintptr_t limit) {
  if ((uintptr_t)__builtin_frame_address(0) < limit + 4096) return 1;
  zend_long deeper = use_all(limit);
  __asm__ volatile("" : "+r"(deeper));
  return deeper + 1;
}

/* [fiber; no; no] */
static ZEND_FUNCTION(zend_test_zend_call_stack_use_all) {
  uintptr_t base, limit;
  ZEND_PARSE_PARAMETERS_NONE();
  if (sidestack_stack(&base, &limit) != SIDESTACK_OK) return;
  RETURN_LONG(use_all(limit));
}

/* What an extension with a bug does. [fiber; no; faults] */
static ZEND_FUNCTION(phpt_fault) {
  ZEND_PARSE_PARAMETERS_NONE();
  *(volatile int *)16 = 1;
}

/* opcache's; its headers are not installed. */
void zend_shared_alloc_lock(void);

/* A bug of opcache's, while it writes to its memory. [fiber; no; faults] */
static ZEND_FUNCTION(phpt_fault_in_opcache) {
  ZEND_PARSE_PARAMETERS_NONE();
  zend_shared_alloc_lock();
  *(volatile int *)16 = 1;
}

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(returns_array, 0, 0, IS_ARRAY, 1)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(returns_int, 0, 0, IS_LONG, 1)
ZEND_END_ARG_INFO()

const zend_function_entry phpt_functions[] = {
    ZEND_FE(zend_test_zend_call_stack_get, returns_array)
    ZEND_FE(zend_test_zend_call_stack_use_all, returns_int)
    ZEND_FE(phpt_fault, returns_int)
    ZEND_FE(phpt_fault_in_opcache, returns_int)
    ZEND_FE_END};
