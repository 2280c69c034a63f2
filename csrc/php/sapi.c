/* The server interface of requests that are no pages: they read nothing, and write to the standard output. */
#include "sapi.h"

#include <string.h>
#include <unistd.h>

#include "php_main.h"
#include "start.h"

/* [fiber; may suspend; no] */
static size_t write_output(const char *bytes, size_t len) {
  size_t written = 0;
  while (written < len) {
    ssize_t now = write(STDOUT_FILENO, bytes + written, len - written);
    if (now < 0) break;
    written += (size_t)now;
  }
  return written;
}

/* [fiber; no; no] */
static void flush_output(void *server_context) { (void)server_context; }

/* [fiber; no; no] */
static int send_headers(sapi_headers_struct *headers) {
  (void)headers;
  return SAPI_HEADER_SENT_SUCCESSFULLY;
}

/* [fiber; no; no] */
static size_t read_post(char *buffer, size_t len) {
  (void)buffer, (void)len;
  return 0;
}

/* [fiber; no; no] */
static char *read_cookies(void) { return NULL; }

/* [fiber; no; may raise: memory] */
static void register_variables(zval *array) { (void)array; }

/* [fiber; may suspend; no] */
static void log_message(const char *message, int level) {
  (void)level;
  dprintf(STDERR_FILENO, "%s\n", message);
}

/* The name is one that opcache knows: PHP is served here much as FPM serves it. */
sapi_module_struct ssphp_sapi = {
    .name = "fpm-fcgi",
    .pretty_name = "Sidestack",
    .startup = ssphp_module_startup,
    .shutdown = php_module_shutdown_wrapper,
    .ub_write = write_output,
    .flush = flush_output,
    .sapi_error = php_error,
    .send_headers = send_headers,
    .read_post = read_post,
    .read_cookies = read_cookies,
    .register_server_variables = register_variables,
    .log_message = log_message,
};

/* [fiber; no; no] */
void ssphp_sapi_begin(ssphp_run *run) {
  SG(server_context) = run;
  SG(headers_sent) = 1;
  SG(request_info).no_headers = 1;
}

/* [fiber; no; no] */
void ssphp_sapi_end(ssphp_run *run) {
  (void)run;
  SG(server_context) = NULL;
}
