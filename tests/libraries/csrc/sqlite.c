/*
 * SQLite on fibers: a custom SQL function and a VFS that wait for the host, in the middle of sqlite3_step().
 *
 * SQLite itself is not changed. How its mutexes fare is in sqlite_mutex.c.
 */
#include "library.h"
#include "sqlite_mutex.h"

#include <pthread.h>

/* One query: what its callbacks leave for it. */
struct query {
  int status; /* of the host call that failed */
};

/* Whether a fiber may wait here. [fiber; no; no] */
static int may_wait(struct query *query) {
  if (checked_mutexes_held())
    query->status = sidestack_fail("mutex_held", "SQLite holds a mutex where a fiber would wait");
  return query->status == SIDESTACK_OK;
}

/* ---- the SQL function ---- */

/* ask(integer): the host's db.ask. [fiber; may suspend; no] */
static void sql_ask(sqlite3_context *context, int count, sqlite3_value **values) {
  (void)count;
  struct query *query = sqlite3_user_data(context);
  sidestack_value argument = sidestack_int(sqlite3_value_int64(values[0]));
  int64_t answer = 0;
  if (may_wait(query)) query->status = library_ask("db.ask", &argument, 1, &answer);
  if (query->status)
    sqlite3_result_error(context, "the host function failed", -1);
  else
    sqlite3_result_int64(context, answer);
}

/* ---- the VFS: one image, which the host holds, read only ---- */

struct image {
  sqlite3_file base;
  struct query *query;
};

/*
 * Whose connection is being opened: SQLite passes nothing of ours to xOpen. No other fiber runs between the setting and
 * the reading, as nothing waits there.
 */
static __thread struct query *opening;

/* The host's db.read: (offset, length) to at most as many bytes. [fiber; may suspend; no] */
static int image_read(sqlite3_file *file, void *to, int length, sqlite3_int64 offset) {
  struct query *query = ((struct image *)file)->query;
  sidestack_results results;
  sidestack_results_init(&results);
  sidestack_value range[] = {sidestack_int(offset), sidestack_int(length)};
  size_t got = 0;
  const char *bytes = NULL;
  if (may_wait(query)) query->status = sidestack_call_name("db.read", range, 2, &results);
  if (query->status == SIDESTACK_OK && results.count) bytes = sidestack_text_of(results.values, &got);
  if (bytes && got <= (size_t)length) memcpy(to, bytes, got);
  sidestack_results_free(&results);
  if (!bytes || got > (size_t)length) return SQLITE_IOERR_READ;
  if (got == (size_t)length) return SQLITE_OK;
  memset((char *)to + got, 0, (size_t)length - got);
  return SQLITE_IOERR_SHORT_READ;
}

/* [fiber; may suspend; no] */
static int image_size(sqlite3_file *file, sqlite3_int64 *size) {
  struct query *query = ((struct image *)file)->query;
  int64_t answer = 0;
  if (may_wait(query)) query->status = library_ask("db.size", NULL, 0, &answer);
  *size = answer;
  return query->status ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

/* [fiber; no; no], as all that follow */
static int image_close(sqlite3_file *file) { return (void)file, SQLITE_OK; }
static int image_write(sqlite3_file *file, const void *from, int length, sqlite3_int64 offset) {
  return (void)file, (void)from, (void)length, (void)offset, SQLITE_READONLY;
}
static int image_truncate(sqlite3_file *file, sqlite3_int64 size) { return (void)file, (void)size, SQLITE_READONLY; }
static int image_sync(sqlite3_file *file, int flags) { return (void)file, (void)flags, SQLITE_OK; }
static int image_lock(sqlite3_file *file, int level) { return (void)file, (void)level, SQLITE_OK; }
static int image_reserved(sqlite3_file *file, int *out) { return (void)file, *out = 0, SQLITE_OK; }
static int image_control(sqlite3_file *file, int op, void *argument) {
  return (void)file, (void)op, (void)argument, SQLITE_NOTFOUND;
}
static int image_sector(sqlite3_file *file) { return (void)file, 512; }
static int image_traits(sqlite3_file *file) { return (void)file, SQLITE_IOCAP_IMMUTABLE; }

static const sqlite3_io_methods image_methods = {
    .iVersion = 1,
    .xClose = image_close,
    .xRead = image_read,
    .xWrite = image_write,
    .xTruncate = image_truncate,
    .xSync = image_sync,
    .xFileSize = image_size,
    .xLock = image_lock,
    .xUnlock = image_lock,
    .xCheckReservedLock = image_reserved,
    .xFileControl = image_control,
    .xSectorSize = image_sector,
    .xDeviceCharacteristics = image_traits,
};

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out) {
  (void)vfs, (void)name;
  file->pMethods = NULL;
  if (!(flags & SQLITE_OPEN_MAIN_DB) || !opening) return SQLITE_CANTOPEN;
  file->pMethods = &image_methods;
  ((struct image *)file)->query = opening;
  opening = NULL;
  if (out) *out = SQLITE_OPEN_READONLY;
  return SQLITE_OK;
}
static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync) {
  return (void)vfs, (void)name, (void)sync, SQLITE_READONLY;
}
static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out) {
  return (void)vfs, (void)name, (void)flags, *out = 0, SQLITE_OK;
}
static int vfs_path(sqlite3_vfs *vfs, const char *name, int size, char *out) {
  return (void)vfs, sqlite3_snprintf(size, out, "%s", name), SQLITE_OK;
}

static int set_up;

/* [any thread; no; no] */
static void setup(void) {
  static sqlite3_vfs vfs;
  /* Small connections: no memory set aside for each, pages one by one. */
  set_up = sqlite3_config(SQLITE_CONFIG_MULTITHREAD) == SQLITE_OK &&
           sqlite3_config(SQLITE_CONFIG_MUTEX, &checked_mutexes) == SQLITE_OK &&
           sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK &&
           sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0) == SQLITE_OK && sqlite3_initialize() == SQLITE_OK;
  if (!set_up) return;
  vfs = *sqlite3_vfs_find(NULL); /* for its time and randomness */
  vfs.zName = "host-image";
  vfs.szOsFile = sizeof(struct image);
  vfs.xOpen = vfs_open;
  vfs.xDelete = vfs_delete;
  vfs.xAccess = vfs_access;
  vfs.xFullPathname = vfs_path;
  set_up = sqlite3_vfs_register(&vfs, 0) == SQLITE_OK;
}

/* Once a process, before anything else of SQLite: whether it worked. [any thread; no; no] */
int library_sqlite_setup(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, setup);
  return set_up;
}

/* ---- queries ---- */

/* [fiber; may suspend; no] */
static sidestack_value column(sqlite3_stmt *statement, int i) {
  switch (sqlite3_column_type(statement, i)) {
    case SQLITE_INTEGER: return sidestack_int(sqlite3_column_int64(statement, i));
    case SQLITE_FLOAT: return sidestack_float(sqlite3_column_double(statement, i));
    case SQLITE_NULL: return sidestack_nil();
    default: {
      const char *text = (const char *)sqlite3_column_text(statement, i);
      return sidestack_text(text, (size_t)sqlite3_column_bytes(statement, i));
    }
  }
}

/* Runs it to its end; the last row of up to eight columns is the results. [fiber; may suspend; no] */
static int run(sqlite3_stmt *statement, sidestack_results *results) {
  int code;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    sidestack_value row[8];
    int columns = sqlite3_column_count(statement);
    if (columns > 8) columns = 8;
    for (int i = 0; i < columns; i++) row[i] = column(statement, i);
    if (sidestack_results_set(results, row, (uint32_t)columns)) return SQLITE_NOMEM;
  }
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* (sql, integers…): on a connection of its own to the host's image. [fiber; may suspend; no] */
static int query_with(int mutex, const sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  struct query query = {SIDESTACK_OK};
  sqlite3 *db = NULL;
  sqlite3_stmt *statement = NULL;
  size_t length;
  const char *sql = sidestack_text_of(&args[0], &length);
  opening = &query; /* which the first thing that SQLite does takes */
  int code = sqlite3_open_v2("image", &db, SQLITE_OPEN_READONLY | mutex, "host-image");
  if (code == SQLITE_OK)
    code = sqlite3_create_function_v2(db, "ask", 1, SQLITE_UTF8, &query, sql_ask, NULL, NULL, NULL);
  if (code == SQLITE_OK) code = sqlite3_prepare_v2(db, sql, (int)length, &statement, NULL);
  for (uint32_t i = 1; code == SQLITE_OK && i < nargs; i++)
    code = sqlite3_bind_int64(statement, (int)i, sidestack_int_or(&args[i], 0));
  if (code == SQLITE_OK) code = run(statement, results);
  int status = query.status;
  if (code != SQLITE_OK && status == SIDESTACK_OK)
    status = sidestack_fail("sqlite", db ? sqlite3_errmsg(db) : "no memory");
  sqlite3_finalize(statement);
  sqlite3_close(db);
  return status;
}

FUNCTION(library_query) { return (void)data, query_with(SQLITE_OPEN_NOMUTEX, args, nargs, results); }

/* The same on a connection that has a mutex, which is held where the host is called. */
FUNCTION(library_query_serialized) { return (void)data, query_with(SQLITE_OPEN_FULLMUTEX, args, nargs, results); }
