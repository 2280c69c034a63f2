/* See folders.h. */
#include "folders.h"

#include <string.h>

#include "php_ini.h"

/* What the files of a folder and of those above it say. It outlives requests. */
typedef struct folder {
  double expires; /* in seconds of the system's time */
  HashTable settings;
} folder;

/* [fiber; no; no] */
static void folder_free(zval *value) {
  folder *known = Z_PTR_P(value);
  zend_hash_destroy(&known->settings);
  pefree(known, 1);
}

/* [fiber; no; no] */
static void read_files(folder *known, const char *script, size_t length) {
  char name[MAXPATHLEN];
  for (const char *slash = script + length; slash && (size_t)(slash - script) < sizeof name;
       slash = *slash ? strchr(slash + 1, '/') : NULL) {
    memcpy(name, script, (size_t)(slash - script));
    name[slash - script] = 0;
    php_parse_user_ini_file(name, PG(user_ini_filename), &known->settings);
  }
}

/* The settings of a script's folder; NULL: they are not known, or no longer. [fiber; no; no] */
static folder *find(HashTable *folders, const char *key, size_t length) {
  folder *known = zend_hash_str_find_ptr(folders, key, length);
  return known && sapi_get_request_time() < known->expires ? known : NULL;
}

void ssphp_folders_activate(const char *script, size_t length) {
  if (!PG(user_ini_filename) || !*PG(user_ini_filename)) return;
  ssphp *home = ssphp_here();
  if (!home->folders) {
    home->folders = pemalloc(sizeof *home->folders, 1);
    zend_hash_init(home->folders, 8, NULL, folder_free, 1);
  }
  /* Two roots may share a folder: which files count depends on both. */
  char key[MAXPATHLEN + 32];
  const char *end = strrchr(script, '/');
  int used = snprintf(key, sizeof key, "%zu %.*s", length, (int)(end ? end - script : 0), script);
  if (used < 0 || (size_t)used >= sizeof key) return;
  folder *known = find(home->folders, key, (size_t)used);
  if (!known) {
    known = pemalloc(sizeof *known, 1);
    zend_hash_init(&known->settings, 8, NULL, config_zval_dtor, 1);
    read_files(known, script, length);
    known->expires = sapi_get_request_time() + (double)PG(user_ini_cache_ttl);
    zend_hash_str_update_ptr(home->folders, key, (size_t)used, known);
  }
  php_ini_activate_config(&known->settings, PHP_INI_PERDIR, PHP_INI_STAGE_HTACCESS);
}

void ssphp_folders_free(ssphp *home) {
  if (!home->folders) return;
  zend_hash_destroy(home->folders);
  pefree(home->folders, 1);
  home->folders = NULL;
}
