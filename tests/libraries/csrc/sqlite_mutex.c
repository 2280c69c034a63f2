/*
 * POSIX mutexes for SQLite that count how many of them a thread holds.
 *
 * A mutex belongs to a thread, and the fibers of an interpreter are one thread. One that is held where a fiber waits
 * would lock up its thread when the next fiber takes it, or, if it is recursive, let that one in. So none may be held
 * at a wait, and sqlite.c asks here before each. That holds for SQLite's own (static) mutexes whatever it does: it calls
 * neither a VFS's xRead nor an SQL function under one. It does not hold for a connection's mutex, which is held for as
 * long as a statement runs; SQLITE_OPEN_NOMUTEX leaves that one out, and is sound as each connection belongs to one
 * fiber. Between two waits no other fiber of the thread runs.
 */
#include "sqlite_mutex.h"

#include <pthread.h>
#include <stdlib.h>

struct sqlite3_mutex {
  pthread_mutex_t os;
};

static struct sqlite3_mutex fixed[SQLITE_MUTEX_STATIC_VFS3 + 1];
static __thread int held;

int checked_mutexes_held(void) { return held; }

/* [any thread; no; no] */
static void make(struct sqlite3_mutex *mutex, int kind) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, kind);
  pthread_mutex_init(&mutex->os, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

/* [any thread; no; no] */
static int init(void) {
  for (int i = SQLITE_MUTEX_RECURSIVE + 1; i <= SQLITE_MUTEX_STATIC_VFS3; i++)
    make(&fixed[i], PTHREAD_MUTEX_ERRORCHECK);
  return SQLITE_OK;
}

/* [any thread; no; no] */
static int end(void) { return SQLITE_OK; }

/* [any thread; no; no] */
static sqlite3_mutex *allocate(int kind) {
  if (kind > SQLITE_MUTEX_RECURSIVE) return kind <= SQLITE_MUTEX_STATIC_VFS3 ? &fixed[kind] : NULL;
  struct sqlite3_mutex *mutex = malloc(sizeof *mutex);
  if (mutex) make(mutex, kind == SQLITE_MUTEX_RECURSIVE ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_ERRORCHECK);
  return mutex;
}

/* [any thread; no; no] */
static void release(sqlite3_mutex *mutex) {
  pthread_mutex_destroy(&mutex->os);
  free(mutex);
}

/* [any thread; blocks; no] */
static void enter(sqlite3_mutex *mutex) {
  /* EDEADLK: a fiber waited with it held. There is no way to tell SQLite. */
  if (pthread_mutex_lock(&mutex->os)) abort();
  held++;
}

/* [any thread; no; no] */
static int try(sqlite3_mutex *mutex) {
  if (pthread_mutex_trylock(&mutex->os)) return SQLITE_BUSY;
  held++;
  return SQLITE_OK;
}

/* [any thread; no; no] */
static void leave(sqlite3_mutex *mutex) {
  held--;
  if (pthread_mutex_unlock(&mutex->os)) abort();
}

const sqlite3_mutex_methods checked_mutexes = {init, end, allocate, release, enter, try, leave, NULL, NULL};
