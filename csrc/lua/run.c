/*
 * Runs: what a fiber does, from its first instruction to its last.
 *
 *   1. take a Lua thread T from the free list
 *   2. lua_resume(T): body() does the task, protected; results are encoded and given to ss_return() while they are alive
 *   3. if that failed, the error is described on a second Lua thread and given to ss_return()
 *   4. T is closed, which runs pending __close handlers (these may suspend), and goes back to the free list
 *
 * The base is a resume, so a script's pcall costs no setjmp, and after an error the C stack is cut back to the base. For
 * that, every call of guest code from body() has a continuation: the code after it may run in a frame of its own, and
 * keeps its state in the run. The script cannot yield from here (sandbox.c); if something does, it is an error.
 */
#include "start.h"

#include <stdlib.h>
#include <string.h>

#include "environment.h"
#include "errors.h"
#include "files.h"
#include "interrupt.h"
#include "refs.h"
#include "require.h"
#include "values.h"

/* Gives stack values 1..top to the host. [fiber; no; may raise before ss_return()] */
static int finish(lua_State *L, int status, lua_KContext context) {
  (void)status;
  (void)context;
  sslua_run *run = *sslua_run_of(L);
  sslua_encoded results;
  sslua_encode(L, 1, lua_gettop(L), run->by_reference, &results);
  run->returned = 1;
  ss_return(SS_OK, results.values, results.count);
  sslua_settle(L, &results);
  return 0;
}

/* Calls the function at index 1 with the run's arguments and finishes. [fiber; may suspend; may raise] */
static int call_and_finish(lua_State *L, sslua_run *run) {
  sslua_decode(L, run->args, run->nargs);
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, finish);
  return finish(L, LUA_OK, 0);
}

/* ---- scripts ---- */

/* The record of script `number`, made if needed. [fiber; no; may raise] */
static sslua_script *script_record(lua_State *L, uint32_t number) {
  sslua *u = sslua_of(L);
  if (number >= u->nscripts) {
    sslua_script *grown = sslua_heap_realloc(u->heap, u->scripts, ((size_t)number + 1) * sizeof(*grown));
    if (grown == NULL) luaL_error(L, "not enough memory");
    memset(grown + u->nscripts, 0, (number + 1 - u->nscripts) * sizeof(*grown));
    u->scripts = grown;
    u->nscripts = number + 1;
  }
  return &u->scripts[number];
}

/* Pushes the compiled text. [fiber; no; may raise] */
static int compile(lua_State *L, const sslua_run *run, const char *text, size_t len) {
  lua_pushliteral(L, "@");
  lua_pushlstring(L, run->name, run->name_len);
  lua_concat(L, 2);
  const char *mode = sslua_of(L)->settings & SSLUA_BINARY_CHUNKS ? "bt" : "t";
  int status = luaL_loadbufferx(L, text, len, lua_tostring(L, -1), mode);
  lua_remove(L, -2);
  return status;
}

/* What a script's chunk returned becomes its exports. [fiber; no; may raise] */
static int loaded(lua_State *L, int status, lua_KContext context) {
  (void)status;
  (void)context;
  sslua *u = sslua_of(L);
  sslua_run *run = *sslua_run_of(L);
  uint32_t number = run->script - 1;
  lua_settop(L, 1);
  switch (lua_type(L, 1)) {
    case LUA_TTABLE:
      break;
    case LUA_TFUNCTION:
      lua_createtable(L, 0, 1);
      lua_insert(L, 1);
      lua_setfield(L, 1, "default");
      break;
    case LUA_TNIL:
      lua_newtable(L);
      lua_replace(L, 1);
      break;
    default:
      return luaL_error(L, "a script returns a table of exports, a function, or nothing; this one returned a %s",
                        luaL_typename(L, 1));
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_scripts);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, (lua_Integer)number + 1);
  u->scripts[number].exports = (Table *)lua_topointer(L, 1);
  /* Its globals stay: they pass from the run to the script. */
  u->scripts[number].globals = run->globals;
  run->outer = run->globals != NULL ? run->globals : (void *)u->base;
  run->globals = NULL;
  sslua_env_select(u, run);
  /* The result of a load: the names of its exports. */
  lua_settop(L, 1);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    lua_pushvalue(L, -2);
    lua_rawseti(L, 2, (lua_Integer)lua_rawlen(L, 2) + 1);
  }
  lua_remove(L, 1);
  return finish(L, LUA_OK, 0);
}

/* [fiber; may suspend; may raise] */
static int load(lua_State *L, sslua *u, sslua_run *run) {
  uint32_t number = run->script;
  sslua_script *script = script_record(L, number);
  char *folder = sslua_heap_realloc(u->heap, NULL, run->folder_len + run->name_len + 2);
  if (folder == NULL) return luaL_error(L, "not enough memory");
  memcpy(folder, run->folder, run->folder_len);
  folder[run->folder_len] = '\0';
  memcpy(folder + run->folder_len + 1, run->name, run->name_len);
  folder[run->folder_len + 1 + run->name_len] = '\0';
  sslua_heap_free(script->folder);
  script->folder = folder;
  script->folder_len = run->folder_len;
  script->name = folder + run->folder_len + 1;
  sslua_env_begin(u, run, 0); /* a script that is loaded anew starts from the base */
  run->script = number + 1;
  size_t len = run->source_len;
  const char *text = sslua_lua_part(run->source, &len);
  if (compile(L, run, text, len) != LUA_OK) return lua_error(L);
  lua_callk(L, 0, 1, 0, loaded);
  return loaded(L, LUA_OK, 0);
}

/* Raises not_found, naming what there is. Exports, or nil, at index 1. [fiber; no; raises] */
static int not_found(lua_State *L, const sslua *u, const sslua_run *run) {
  uint32_t number = run->script - 1;
  if (!lua_istable(L, 1)) {
    sslua_error_new(L, "not_found", "there is no script number %d", (int)number);
    return lua_error(L);
  }
  luaL_checkstack(L, 12, NULL);
  lua_pushlstring(L, run->name, run->name_len);
  const char *name = lua_tostring(L, -1);
  int shown = 0;
  lua_pushliteral(L, ""); /* the names so far */
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || ++shown > 20) continue;
    lua_pushfstring(L, "%s%s%s", lua_tostring(L, -3), shown == 1 ? "" : ", ", lua_tostring(L, -2));
    lua_replace(L, -4);
  }
  const char *names = shown == 0 ? "nothing" : lua_tostring(L, -1);
  sslua_error_new(L, "not_found", "script '%s' has no export '%s'; it has %s", u->scripts[number].name, name, names);
  return lua_error(L);
}

/* [fiber; may suspend; may raise] */
static int call_export(lua_State *L, sslua *u, sslua_run *run) {
  sslua_env_begin(u, run, run->script + 1);
  if (run->script <= u->nscripts && u->scripts[run->script - 1].exports != NULL) {
    /* Nearly always the export is a function in a plain field; the rest of this function says the same at length. */
    lua_pushlstring(L, run->name, run->name_len);
    const TValue *export = luaH_get(u->scripts[run->script - 1].exports, s2v(L->top.p - 1));
    if (ttisfunction(export)) {
      setobj2s(L, L->top.p - 1, export);
      return call_and_finish(L, run);
    }
    lua_settop(L, 0);
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_scripts);
  if (lua_rawgeti(L, 1, (lua_Integer)run->script) != LUA_TTABLE) {
    lua_replace(L, 1);
    return not_found(L, u, run);
  }
  lua_replace(L, 1);
  lua_pushlstring(L, run->name, run->name_len);
  int type = lua_gettable(L, 1);
  if (type != LUA_TFUNCTION) {
    if (type == LUA_TNIL) {
      lua_settop(L, 1);
      return not_found(L, u, run);
    }
    if (luaL_getmetafield(L, 2, "__call") == LUA_TNIL) {
      lua_pushlstring(L, run->name, run->name_len);
      sslua_error_new(L, "not_found", "export '%s' of script '%s' is a %s, not a function", lua_tostring(L, -1),
                      u->scripts[run->script - 1].name, luaL_typename(L, 2));
      return lua_error(L);
    }
    lua_settop(L, 2);
  }
  lua_replace(L, 1);
  return call_and_finish(L, run);
}

/* [fiber; may suspend; may raise] */
static int eval(lua_State *L, sslua *u, sslua_run *run) {
  sslua_env_begin(u, run, 0);
  run->home = sslua_home_new(u->heap, run->folder, run->folder_len);
  if (run->home == NULL) return luaL_error(L, "not enough memory");
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  luaL_addstring(&b, "return ");
  size_t plain_len = run->source_len, len;
  const char *plain = sslua_lua_part(run->source, &plain_len);
  luaL_addlstring(&b, plain, plain_len);
  luaL_pushresult(&b);
  const char *text = lua_tolstring(L, 1, &len);
  if (compile(L, run, text, len) != LUA_OK) {
    lua_pop(L, 1);
    if (compile(L, run, plain, plain_len) != LUA_OK) return lua_error(L);
  }
  lua_replace(L, 1);
  return call_and_finish(L, run);
}

/* The base of every run. [fiber; may suspend; may raise] */
static int body(lua_State *L) {
  sslua_run *run = *sslua_run_of(L);
  sslua *u = run->universe;
  switch (run->task) {
    case SSLUA_START:
      sslua_start(L);
      break;
    case SSLUA_LOAD:
      return load(L, u, run);
    case SSLUA_CALL:
      return call_export(L, u, run);
    case SSLUA_CALL_FUNCTION:
      sslua_env_begin(u, run, sslua_ref_script(u, run->slot));
      run->home = sslua_home_share(sslua_ref_home(u, run->slot));
      sslua_ref_push(L, run->slot);
      return call_and_finish(L, run);
    case SSLUA_EVAL:
      return eval(L, u, run);
    case SSLUA_RELEASE:
      for (size_t i = 0; i < run->nslots; i++) sslua_ref_remove(u, run->slots[i]);
      break;
    case SSLUA_COLLECT:
      sslua_threads_trim(u);
      lua_gc(L, LUA_GCCOLLECT);
      sslua_heap_trim(u->heap);
      break;
    default:
      return luaL_error(L, "unknown task");
  }
  lua_settop(L, 0);
  return finish(L, LUA_OK, 0);
}

/* ---- the outcome of a failed run ---- */

typedef struct description {
  lua_State *from;
  ss_value values[SS_ERROR_VALUES];
} description;

/* Error and description in; an error object and its strings out. [fiber; may suspend; may raise] */
static int describe(lua_State *L) {
  description *d = lua_touserdata(L, 2);
  lua_settop(L, 1);
  sslua_error_capture(L, d->from, 0);
  sslua_error_values(L, 1, d->values);
  return 4;
}

/* Tells the host of an error on T. [fiber; may suspend; no] */
static void fail(sslua *u, sslua_run *run, lua_State *T, int status) {
  description d = {.from = T};
  lua_State *scratch = NULL;
  if (status == LUA_YIELD) {
    sslua_error_static(NULL, "attempt to yield from outside a coroutine", d.values);
  } else if (sslua_is_kill(T, -1)) {
    run->returned = 1;
    sslua_loading_sweep(u, run, (const void *)UINTPTR_MAX);
    ss_return(SS_KILL, NULL, 0);
    return;
  } else if (status == LUA_ERRMEM) {
    sslua_error_static("memory", "not enough memory", d.values);
  } else if ((scratch = sslua_thread_take(u)) == NULL) {
    sslua_error_static("memory", "not enough memory for an error's description", d.values);
  } else {
    *sslua_run_of(scratch) = run;
    lua_pushcfunction(scratch, describe);
    lua_xmove(T, scratch, 1);
    lua_pushlightuserdata(scratch, &d);
    status = lua_pcall(scratch, 2, 4, 0);
    if (status != LUA_OK && sslua_is_kill(scratch, -1)) {
      run->returned = 1;
      sslua_loading_sweep(u, run, (const void *)UINTPTR_MAX);
      ss_return(SS_KILL, NULL, 0);
      sslua_thread_give(u, scratch);
      return;
    }
    if (status == LUA_ERRMEM)
      sslua_error_static("memory", "not enough memory", d.values);
    else if (status != LUA_OK)
      sslua_error_static(NULL, "error while an error was described", d.values);
  }
  run->returned = 1;
  ss_return(SS_ERROR, d.values, SS_ERROR_VALUES);
  if (scratch != NULL) sslua_thread_give(u, scratch);
}

/* The last run: finalizers, then the heap. [fiber; no; no] */
static void stop(sslua *u) {
  lua_close(u->L);
  u->L = NULL;
  u->env_meta = NULL;
  ss_return(SS_OK, NULL, 0);
}

/* [fiber; may suspend; no] */
void sslua_entry(void *argument) {
  sslua_run *run = argument;
  sslua *u = run->universe;
  if (run->task == SSLUA_STOP) {
    stop(u);
    return;
  }
  lua_State *T = sslua_thread_take(u);
  if (T == NULL) {
    ss_value error[SS_ERROR_VALUES];
    sslua_error_static("memory", "not enough memory for a Lua thread", error);
    ss_return(SS_ERROR, error, SS_ERROR_VALUES);
    return;
  }
  *sslua_run_of(T) = run;
  run->thread = T;
  lua_pushcfunction(T, body);
  int results;
  int status = lua_resume(T, NULL, 0, &results);
  if (!run->returned) fail(u, run, T, status);
  sslua_thread_give(u, T);
  run->thread = NULL;
  sslua_env_end(u, run);
}
