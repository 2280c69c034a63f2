/* Functions of pages, under the names that scripts know from FPM, Apache and FrankenPHP. */
#include "page.h"
#include "worker.h"

#include <string.h>

#include "ext/standard/head.h"

/* All headers of the request, as sent. */
ZEND_FUNCTION(apache_request_headers) {
  ZEND_PARSE_PARAMETERS_NONE();
  ssphp_page *page = ssphp_page_here();
  array_init(return_value);
  if (!page) return;
  const ssphp_pairs *headers = ssphp_page_headers(page);
  for (uint32_t i = 0; i < headers->count; i++) {
    const ssphp_pair *pair = &headers->first[i];
    add_assoc_stringl_ex(return_value, pair->name.bytes, pair->name.length, pair->value.bytes, pair->value.length);
  }
}

/* The response's headers so far; of several with one name the last. */
ZEND_FUNCTION(apache_response_headers) {
  ZEND_PARSE_PARAMETERS_NONE();
  array_init(return_value);
  zend_llist_position place;
  zend_llist *headers = &SG(sapi_headers).headers;
  for (sapi_header_struct *header = zend_llist_get_first_ex(headers, &place); header;
       header = zend_llist_get_next_ex(headers, &place)) {
    const char *end = header->header + header->header_len, *colon = memchr(header->header, ':', header->header_len);
    if (!colon) continue;
    const char *value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t')) value++;
    while (colon > header->header && (colon[-1] == ' ' || colon[-1] == '\t')) colon--;
    if (colon == header->header) continue;
    add_assoc_stringl_ex(return_value, header->header, (size_t)(colon - header->header), value, (size_t)(end - value));
  }
}

/* The response ends; the script goes on, and what it writes goes nowhere. */
ZEND_FUNCTION(fastcgi_finish_request) {
  ZEND_PARSE_PARAMETERS_NONE();
  ssphp_page *page = ssphp_page_here();
  if (!page || page->idle || page->ended) RETURN_FALSE;
  php_output_end_all();
  php_header();
  ssphp_page_finish(page, 0);
  RETURN_TRUE;
}

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_headers, 0, 0, IS_ARRAY, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_finish, 0, 0, _IS_BOOL, 0)
ZEND_END_ARG_INFO()
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_handle, 0, 1, _IS_BOOL, 0)
  ZEND_ARG_TYPE_INFO(0, callback, IS_CALLABLE, 0)
ZEND_END_ARG_INFO()

const zend_function_entry ssphp_page_functions[] = {
    ZEND_FE(apache_request_headers, arginfo_headers)
    ZEND_FALIAS(getallheaders, apache_request_headers, arginfo_headers)
    ZEND_FE(apache_response_headers, arginfo_headers)
    ZEND_FE(fastcgi_finish_request, arginfo_finish)
    ZEND_FALIAS(frankenphp_finish_request, fastcgi_finish_request, arginfo_finish)
    ZEND_FALIAS(frankenphp_request_headers, apache_request_headers, arginfo_headers)
    ZEND_FALIAS(frankenphp_response_headers, apache_response_headers, arginfo_headers)
    ZEND_FE(frankenphp_handle_request, arginfo_handle)
    ZEND_FE_END};
