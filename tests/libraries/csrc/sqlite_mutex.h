/* SQLite's mutexes, and whether the calling thread holds one. */
#ifndef SQLITE_MUTEX_H
#define SQLITE_MUTEX_H

#include <sqlite3.h>

extern const sqlite3_mutex_methods checked_mutexes;

/* How many of them this thread holds. [any thread; no; no] */
int checked_mutexes_held(void);

#endif
