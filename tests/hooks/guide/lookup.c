#include <hiredis.h>
#include <stdio.h>
#include <string.h>

#include "native.h"

/* A constant, or text that stays where it is until the next call on this thread. */
static int leave(ss_value *result, int status, const char *text) {
  result->tag = SS_STRING;
  result->len = (uint32_t)strlen(text);
  result->as.bytes = text;
  return status;
}

/* lookup(port, key): blocking code, as in any other program. */
int lookup(ss_value *args, uint32_t nargs, ss_value *result) {
  static _Thread_local char value[256];
  if (nargs != 2 || args[0].tag != SS_INT || args[1].tag != SS_STRING)
    return leave(result, SS_ERROR, "lookup wants a port and a key");
  redisContext *redis = redisConnect("127.0.0.1", (int)args[0].as.integer);
  if (!redis || redis->err) {
    redisFree(redis);
    return leave(result, SS_ERROR, "no connection to Redis");
  }
  redisReply *reply = redisCommand(redis, "GET %b", args[1].as.bytes, (size_t)args[1].len);
  int found = reply && reply->type == REDIS_REPLY_STRING;
  /* After the last wait: fibers share the buffer. */
  snprintf(value, sizeof value, "%s", found ? reply->str : "no such key");
  freeReplyObject(reply);
  redisFree(redis);
  return leave(result, found ? SS_OK : SS_ERROR, value);
}
