/* The SAPI: how PHP reaches its host. Pages cross (page.c); a script that is no page has the process's own output and log. */
#include "sapi.h"

#include "command.h"
#include "folders.h"
#include "page.h"
#include "start.h"

#include <errno.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "php_main.h"
#include "php_variables.h"

/* ---- output ---- */

/* All of it to the process's stdout; 0: it cannot be written. [fiber; no; no] */
static int write_out(int fd, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t some = write(fd, bytes, length);
    if (some < 0 && errno == EINTR) continue;
    if (some <= 0) return 0;
    bytes += some;
    length -= (size_t)some;
  }
  return 1;
}

/* [fiber; may suspend; bails out where the client is gone] */
static size_t write_output(const char *bytes, size_t length) {
  ssphp_page *page = ssphp_page_here();
  int written = !page        ? write_out(STDOUT_FILENO, bytes, length)
                : page->idle ? write_out(STDERR_FILENO, bytes, length)
                             : ssphp_page_write(page, bytes, length);
  if (!written && (!page || page->gone)) php_handle_aborted_connection();
  return length;
}

/* [fiber; may suspend; bails out where the client is gone] */
static void flush_output(void *context) {
  (void)context;
  ssphp_page *page = ssphp_page_here();
  if (!page || page->idle) return;
  /* As other SAPIs: what is flushed has its head before it. */
  sapi_send_headers();
  if (!ssphp_page_flush(page) && page->gone) php_handle_aborted_connection();
}

static int send_headers(sapi_headers_struct *headers) {
  ssphp_page *page = ssphp_page_here();
  if (page && !page->idle && !page->ended) ssphp_page_head(page, headers);
  return SAPI_HEADER_SENT_SUCCESSFULLY;
}

/* ---- input ---- */

static size_t read_post(char *buffer, size_t length) {
  ssphp_page *page = ssphp_page_here();
  return page ? ssphp_page_read(page, buffer, length) : 0;
}

static char *read_cookies(void) {
  ssphp_page *page = ssphp_page_here();
  return page ? (char *)page->cookies.bytes : NULL;
}

static void register_variable(const char *name, const char *bytes, size_t length, zval *array) {
  /* The filter may put another string into the place of this one. */
  char *value = estrndup(bytes, length);
  if (sapi_module.input_filter(PARSE_SERVER, name, &value, length, &length))
    php_register_variable_safe(name, value, length, array);
  efree(value);
}

/* $_SERVER of a script that is no page: as the CLI has it. */
static void register_script(zval *array) {
  php_import_environment_variables(array);
  const char *script = SG(request_info).path_translated;
  if (!script) return;
  static const char *const names[] = {"PHP_SELF", "SCRIPT_NAME", "SCRIPT_FILENAME", "PATH_TRANSLATED"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) register_variable(names[i], script, strlen(script), array);
  register_variable("DOCUMENT_ROOT", "", 0, array);
}

static void register_variables(zval *array) {
  ssphp_page *page = ssphp_page_here();
  if (!page || page->idle) register_script(array);
  if (!page) return;
  const ssphp_pairs *variables = ssphp_page_variables(page);
  for (uint32_t i = 0; i < variables->count; i++) {
    const ssphp_pair *pair = &variables->first[i];
    register_variable(pair->name.bytes, pair->value.bytes, pair->value.length, array);
  }
  /* The name under which worker scripts look for it. */
  if (page->worker) register_variable("FRANKENPHP_WORKER", "1", 1, array);
}

/* getenv() sees the request's variables before the process's, as under FPM. */
static char *get_variable(const char *name, size_t length) {
  ssphp_page *page = ssphp_page_here();
  if (!page) return NULL;
  const ssphp_pairs *variables = ssphp_page_variables(page);
  for (uint32_t i = 0; i < variables->count; i++) {
    const ssphp_pair *pair = &variables->first[i];
    if (pair->name.length == length && memcmp(pair->name.bytes, name, length) == 0) return (char *)pair->value.bytes;
  }
  return NULL;
}

/* ---- the request's beginning and end ---- */

static int activate(void) {
  ssphp_page *page = ssphp_page_here();
  /* What is no page has no head. (PHP's start, on its own thread, is no request.) */
  if (!page && ssphp_here()) SG(headers_sent) = SG(request_info).no_headers = 1;
  const char *script = SG(request_info).path_translated;
  const char *root = page && !page->idle ? page->root.bytes : NULL;
  size_t length = root ? page->root.length : 0;
  if (root && script && strncmp(script, root, length) == 0 && (script[length] == '/' || script[length] == 0))
    ssphp_folders_activate(script, length);
  return SUCCESS;
}

static int deactivate(void) {
  ssphp_page *page = ssphp_page_here();
  /* A worker's call goes on. */
  if (page) ssphp_page_finish(page, !page->worker);
  return SUCCESS;
}

/* ---- the log ---- */

/* The host's, with the request that it is of; stderr for PHP's start, PHP's command line, and a fiber that is being killed.
   [fiber, or PHP's thread; no; no] */
static void log_message(const char *message, int level) {
  bool command_line = ssphp_sapi.phpinfo_as_text;
  if (command_line || !ssphp_here() || !ssphp_log(level, message)) dprintf(STDERR_FILENO, "%s\n", message);
}

sapi_module_struct ssphp_sapi = {
    .name = "fpm-fcgi", /* one that opcache knows: PHP is served here much as FPM serves it */
    .pretty_name = "Sidestack",
    .startup = ssphp_module_startup,
    .shutdown = php_module_shutdown_wrapper,
    .activate = activate,
    .deactivate = deactivate,
    .ub_write = write_output,
    .flush = flush_output,
    .getenv = get_variable,
    .sapi_error = php_error,
    .send_headers = send_headers,
    .read_post = read_post,
    .read_cookies = read_cookies,
    .register_server_variables = register_variables,
    .log_message = log_message,
    .additional_functions = ssphp_page_functions,
};

/* [fiber; no; no] */
void ssphp_sapi_begin(ssphp_run *run) {
  /* Anything but NULL: there is a request. */
  SG(server_context) = run;
  memset(&SG(request_info), 0, sizeof SG(request_info));
  if (run->task != SSPHP_MAIN) return;
  ssphp_page_open();
  if (!ssphp_page_here()) ssphp_command_begin(run);
}

/* [fiber; no; no] */
void ssphp_sapi_end(void) {
  if (!ssphp_page_here()) ssphp_command_end();
  ssphp_page_close();
  SG(server_context) = NULL;
}
