/* libpq. */
#include <libpq-fe.h>
#include <stdlib.h>

#include "libs.h"

/* The interpreter's one thread tells itself. */
static int gate_is_shut;

/* args: connection string, a number. Connects, waits at the server for the lock that pq_gate holds, and lets the server
   double the number. */
int pq_operation(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(2);
  TEXT(where, args[0]);
  libs_note_thread();
  PGconn *connection = PQconnectdb(where);
  SAYS(PQstatus(connection) == CONNECTION_OK, PQerrorMessage(connection));
  while (!gate_is_shut) CHECK(usleep(10000) == 0);
  PGresult *locked = PQexec(connection, "SELECT pg_advisory_lock_shared(42)");
  SAYS(PQresultStatus(locked) == PGRES_TUPLES_OK, PQerrorMessage(connection));
  PQclear(locked);
  char number[24];
  snprintf(number, sizeof number, "%lld", (long long)args[1].as.integer);
  const char *values[1] = {number};
  PGresult *doubled = PQexecParams(connection, "SELECT $1::bigint * 2", 1, NULL, values, NULL, NULL, 0);
  SAYS(PQresultStatus(doubled) == PGRES_TUPLES_OK, PQerrorMessage(connection));
  int64_t value = atoll(PQgetvalue(doubled, 0, 0));
  PQclear(doubled);
  PQfinish(connection);
  libs_note_thread();
  return case_done(result, value);
}

/* args: connection string, how many operations. Holds the lock until so many wait for it at the server. */
int pq_gate(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(2);
  TEXT(where, args[0]);
  libs_note_thread();
  PGconn *connection = PQconnectdb(where);
  SAYS(PQstatus(connection) == CONNECTION_OK, PQerrorMessage(connection));
  PGresult *locked = PQexec(connection, "SELECT pg_advisory_lock(42)");
  SAYS(PQresultStatus(locked) == PGRES_TUPLES_OK, PQerrorMessage(connection));
  PQclear(locked);
  gate_is_shut = 1;
  int64_t waiting = 0;
  while (waiting < args[1].as.integer) {
    CHECK(usleep(50000) == 0);
    PGresult *count = PQexec(connection, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
    SAYS(PQresultStatus(count) == PGRES_TUPLES_OK, PQerrorMessage(connection));
    waiting = atoll(PQgetvalue(count, 0, 0));
    PQclear(count);
  }
  PQfinish(connection);
  return case_done(result, waiting);
}
