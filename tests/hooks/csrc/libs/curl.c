/* libcurl, its easy interface. */
#include <curl/curl.h>
#include <stdlib.h>

#include "libs.h"

/* Once, before there are fibers. [main thread] */
int curl_prepare(void) { return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK; }

typedef struct body {
  size_t size;
  char text[1000];
} body;

static size_t receive(char *bytes, size_t one, size_t size, void *data) {
  body *b = data;
  if (b->size + size >= sizeof b->text) return 0;
  memcpy(b->text + b->size, bytes, one * size);
  b->size += size;
  return size;
}

/* args: a URL. Fetches it and returns the number that its body is. */
int curl_operation(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(1);
  TEXT(url, args[0]);
  libs_note_thread();
  CURL *curl = curl_easy_init();
  CHECK(curl);
  body b = {0};
  long status = 0;
  curl_easy_setopt(curl, CURLOPT_URL, url);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &b);
  CURLcode code = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_cleanup(curl);
  SAYS(code == CURLE_OK, curl_easy_strerror(code));
  SAYS(status == 200, b.text);
  libs_note_thread();
  return case_done(result, atoll(b.text));
}
