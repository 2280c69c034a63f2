/* hiredis. */
#include <hiredis.h>
#include <stdlib.h>

#include "libs.h"

/* args: port, a number. Waits at the server until somebody pushes to the list of this number, and returns what. */
int redis_operation(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(2);
  libs_note_thread();
  redisContext *redis = redisConnect("127.0.0.1", (int)args[0].as.integer);
  SAYS(redis && !redis->err, redis ? redis->errstr : "no memory");
  redisReply *reply = redisCommand(redis, "BLPOP list:%lld 0", (long long)args[1].as.integer);
  SAYS(reply, redis->errstr);
  CHECK(reply->type == REDIS_REPLY_ARRAY && reply->elements == 2);
  int64_t value = atoll(reply->element[1]->str);
  freeReplyObject(reply);
  redisFree(redis);
  libs_note_thread();
  return case_done(result, value);
}

/* args: port, how many operations. When so many are blocked at the server, pushes to each its number, doubled. */
int redis_gate(ss_value *args, uint32_t nargs, ss_value *result) {
  ARGS(2);
  libs_note_thread();
  redisContext *redis = redisConnect("127.0.0.1", (int)args[0].as.integer);
  SAYS(redis && !redis->err, redis ? redis->errstr : "no memory");
  int64_t blocked = 0;
  while (blocked < args[1].as.integer) {
    CHECK(usleep(20000) == 0);
    redisReply *info = redisCommand(redis, "INFO clients");
    SAYS(info, redis->errstr);
    const char *field = strstr(info->str, "blocked_clients:");
    CHECK(field);
    blocked = atoll(field + strlen("blocked_clients:"));
    freeReplyObject(info);
  }
  for (int64_t i = 0; i < blocked; i++) {
    redisReply *pushed = redisCommand(redis, "RPUSH list:%lld %lld", (long long)i, (long long)(2 * i));
    SAYS(pushed, redis->errstr);
    freeReplyObject(pushed);
  }
  redisFree(redis);
  return case_done(result, blocked);
}
