/* PHP's start: TSRM, the server interface, the modules; ours among them, which brings opcache in. */
#include "start.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "declare.h"
#include "errors.h"
#include "interrupt.h"
#include "library.h"
#include "memory.h"
#include "names.h"
#include "object.h"
#include "opcache.h"
#include "sapi.h"
#include "php_main.h"
#include "zend_extensions.h"

/* Places in TSRM's table of threads, which are lists: a context is looked for when it is made and freed. */
enum { EXPECTED_THREADS = 1024 };

/* opcache's, which is linked in. */
extern zend_extension zend_extension_entry;

/* [PHP's thread; no; no] */
static PHP_MINIT_FUNCTION(sidestack) {
  (void)type, (void)module_number;
  ssphp_reserved = zend_get_resource_handle("sidestack");
  ssphp_errors_register();
  ssphp_objects_open();
  ssphp_library_register();
  ssphp_interrupt_open();
  ssphp_memory_open();
  ssphp_names_open();
  ssphp_opcache_open();
  ssphp_common_open();
  zend_register_extension(&zend_extension_entry, NULL);
  return ssphp_reserved < 0 ? FAILURE : SUCCESS;
}

/* PHP would wait for what is left of a request's body, though no script is left to read it. [fiber; no; no] */
static PHP_RSHUTDOWN_FUNCTION(sidestack) {
  SG(post_read) = 1;
  return SUCCESS;
}

zend_module_entry ssphp_module = {
    STANDARD_MODULE_HEADER, "sidestack", NULL, PHP_MINIT(sidestack), NULL, NULL, PHP_RSHUTDOWN(sidestack), NULL, SIDESTACK_VERSION,
    STANDARD_MODULE_PROPERTIES};

/* [PHP's thread; no; no] */
int ssphp_module_startup(sapi_module_struct *sapi) { return php_module_startup(sapi, &ssphp_module); }

/* What holds unless php.ini or the program says otherwise. */
static const char *const defaults[][2] = {
    {"log_errors", "1"}, {"html_errors", "0"}, {"max_execution_time", "0"}, /* calls have deadlines */
    {"opcache.jit", "disable"},
};
static const char *const server_defaults[][2] = {{"display_errors", "0"}, {"implicit_flush", "0"}};
/* As PHP's own command line. */
static const char *const command_defaults[][2] = {{"display_errors", "1"}, {"implicit_flush", "1"}, {"output_buffering", "0"}};

/* [PHP's thread; no; no] */
static void put(HashTable *configuration, const char *const settings[][2], size_t count) {
  for (size_t i = 0; i < count; i++) {
    zval value;
    ZVAL_NEW_STR(&value, zend_string_init(settings[i][1], strlen(settings[i][1]), 1));
    zend_hash_str_update(configuration, settings[i][0], strlen(settings[i][0]), &value);
  }
}

/* [PHP's thread; no; no] */
static void ini_defaults(HashTable *configuration) {
  put(configuration, defaults, sizeof(defaults) / sizeof(*defaults));
  put(configuration, server_defaults, sizeof(server_defaults) / sizeof(*server_defaults));
}

/* [PHP's thread; no; no] */
static void command_ini_defaults(HashTable *configuration) {
  put(configuration, defaults, sizeof(defaults) / sizeof(*defaults));
  put(configuration, command_defaults, sizeof(command_defaults) / sizeof(*command_defaults));
}

/* [PHP's thread; no; no] */
const char *ssphp_startup(const char *settings, const char *file, int command_line) {
  char *entries = strdup(settings);
  if (entries == NULL) return "not enough memory";
  if (!php_tsrm_startup_ex(EXPECTED_THREADS)) return "TSRM does not start";
  zend_signal_startup();
  if (command_line) {
    ssphp_sapi.name = "cli";
    ssphp_sapi.phpinfo_as_text = 1;
  }
  sapi_startup(&ssphp_sapi);
  ssphp_sapi.ini_defaults = command_line ? command_ini_defaults : ini_defaults;
  ssphp_sapi.ini_entries = entries;
  ssphp_sapi.php_ini_path_override = file != NULL ? strdup(file) : NULL;
  ssphp_sapi.php_ini_ignore = file == NULL;
  if (ssphp_sapi.startup(&ssphp_sapi) == FAILURE) return "its modules do not start";
  return ssphp_opcache_refuses();
}
