/* Settings of a site's folders: `.user.ini`. */
#ifndef SIDESTACK_PHP_FOLDERS_H
#define SIDESTACK_PHP_FOLDERS_H

#include "inner.h"

/*
 * Gives the request that starts the settings of the folders from the document root, `length` bytes long, down to the script's.
 * Files are read again after `user_ini.cache_ttl` seconds, each interpreter by itself. [fiber; no; no]
 */
void ssphp_folders_activate(const char *script, size_t length);

/* Forgets what was read. [fiber; no; no] */
void ssphp_folders_free(ssphp *home);

#endif
