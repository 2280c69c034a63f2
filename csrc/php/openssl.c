/*
 * OpenSSL queues its errors by thread, until somebody asks for them: PHP's extension, which keeps them for
 * openssl_error_string(), or a library that looks what a failed call came to. Most calls take out what they put in. What is left
 * changes hands with the context. PHP's own list is the context's, and outlives a request.
 */
#include "openssl.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "php.h"

enum { MOST = 16 }; /* as many as the queue has */

/* [interpreter thread; no; no] */
void ssphp_openssl_save(ssphp_openssl *openssl) {
  openssl->errors = NULL;
  if (ERR_peek_error() == 0) return;
  unsigned long *next = openssl->errors = calloc(MOST + 1, sizeof(*next));
  for (int i = 0; next != NULL && i < MOST && (*next = ERR_get_error()) != 0; i++) next++;
  ERR_clear_error();
}

/* [interpreter thread; no; no] */
void ssphp_openssl_load(ssphp_openssl *openssl) {
  if (openssl->errors == NULL) return;
  for (const unsigned long *error = openssl->errors; *error != 0; error++) {
    ERR_new();
    ERR_set_error(ERR_GET_LIB(*error), ERR_GET_REASON(*error), NULL);
  }
  free(openssl->errors);
  openssl->errors = NULL;
}

/* [fiber; no; may raise: memory] */
void ssphp_openssl_forget(void) {
  static zend_function *error_string;
  ERR_clear_error();
  if (error_string == NULL) error_string = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("openssl_error_string"));
  for (int i = 0; error_string != NULL && i <= MOST; i++) {
    zval error;
    zend_call_known_function(error_string, NULL, NULL, &error, 0, NULL, NULL);
    bool last = Z_TYPE(error) != IS_STRING;
    zval_ptr_dtor(&error);
    if (last) return;
  }
}
