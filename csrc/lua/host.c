/*
 * Host calls.
 *
 * A host function is a C closure over its id and flags. It encodes its arguments, crosses, and then does what the
 * status says: push results, raise an error, unwind, or (SS_CALL_GUEST, any number of times) call a guest function on
 * this same C stack, in a protected call of its own, and answer. All that the call holds lies in its frame or on the Lua
 * stack, so a longjmp past it loses nothing; the host finds out by the frames' addresses.
 *
 * A host object is a userdata that holds its key, with one metatable a class. Methods are found by name, getters are called. A
 * method named `close` is also what `local x <close>` calls, and methods whose names begin with "__" are metamethods.
 */
#include "host.h"

#include <string.h>

#include "errors.h"
#include "interrupt.h"
#include "leaf.h"
#include "refs.h"
#include "require.h"
#include "values.h"

/* ---- calling ---- */

/* What a guest call that the host asked for works on. */
typedef struct guest_call {
  const ss_call *call;
  uint32_t flags; /* of the host function */
  sslua_encoded results;
} guest_call;

/* The whole of a guest call, protected; its results and buffers stay on the stack. [fiber; may suspend; may raise] */
static int guest_call_body(lua_State *L) {
  guest_call *g = lua_touserdata(L, 1);
  lua_settop(L, 0);
  sslua_ref_push(L, g->call->function);
  sslua_decode(L, g->call->values, g->call->count);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  sslua_encode(L, 1, lua_gettop(L), (g->flags & SS_BY_REFERENCE) != 0, &g->results);
  return lua_gettop(L);
}

/* Does what SS_CALL_GUEST asks for and answers. [fiber; may suspend; may raise] */
static int call_guest(lua_State *L, ss_call *call, uint32_t flags) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 8, NULL);
  guest_call g = {.call = call, .flags = flags};
  lua_pushcfunction(L, sslua_error_handler);
  lua_pushcfunction(L, guest_call_body);
  lua_pushlightuserdata(L, &g);
  int status = lua_pcall(L, 1, LUA_MULTRET, top + 1);
  int next;
  if (status == LUA_OK) {
    next = ss_host_answer(call, SS_OK, g.results.values, g.results.count);
    sslua_settle(L, &g.results);
  } else if (sslua_is_kill(L, -1)) {
    sslua_loading_sweep(sslua_of(L), sslua_of(L)->run, __builtin_frame_address(0));
    next = ss_host_answer(call, SS_KILL, NULL, 0);
  } else {
    ss_value error[SS_ERROR_VALUES];
    if (status == LUA_ERRMEM) {
      sslua_error_static("memory", "not enough memory", error);
    } else {
      if (!sslua_is_error(L, -1)) sslua_error_capture(L, L, 1);
      sslua_error_values(L, -1, error);
    }
    next = ss_host_answer(call, SS_ERROR, error, SS_ERROR_VALUES);
  }
  lua_settop(L, top);
  return next;
}

/* Pushes a number, a boolean or nil, for which there is stack; 0: it is something else. [fiber; no; no] */
static inline int push_scalar(lua_State *L, const ss_value *value) {
  TValue *o = s2v(L->top.p);
  switch (value->tag) {
    case SS_NIL:
      setnilvalue(o);
      break;
    case SS_BOOL:
      if (value->as.integer) {
        setbtvalue(o);
      } else {
        setbfvalue(o);
      }
      break;
    case SS_INT:
      setivalue(o, value->as.integer);
      break;
    case SS_FLOAT:
      setfltvalue(o, value->as.number);
      break;
    default:
      return 0;
  }
  L->top.p++;
  return 1;
}

/* Pushes up to SSLUA_SMALL of them, for which a C function has stack; 0: there is something else. [fiber; no; no] */
static int push_scalars(lua_State *L, const ss_value *values, uint32_t count) {
  if (count > SSLUA_SMALL) return 0;
  StkId top = L->top.p;
  for (uint32_t i = 0; i < count; i++) {
    if (push_scalar(L, &values[i])) continue;
    L->top.p = top;
    return 0;
  }
  return 1;
}

/*
 * What is left of a host call that is not over yet, or whose values are not a few numbers. `args`: NULL: they were.
 * [fiber; may suspend; may raise]
 */
static __attribute__((noinline)) int host_call_rest(lua_State *L, int status, uint32_t flags, ss_call *call, sslua_encoded *args) {
  while (status == SS_CALL_GUEST) status = call_guest(L, call, flags);
  if (args) sslua_settle(L, args);
  if (status == SS_OK) {
    int count = (int)call->count;
    if (!push_scalars(L, call->values, call->count)) sslua_decode(L, call->values, call->count);
    ss_host_end(call);
    return count;
  }
  if (status == SS_KILL) {
    ss_host_end(call);
    sslua_kill(L);
  }
  sslua_error_push(L, call->values);
  ss_host_end(call);
  return lua_error(L);
}

/* A host call whose arguments are not a few numbers. [fiber; may suspend; may raise] */
static __attribute__((noinline)) int host_call_any(lua_State *L, uint32_t id, uint32_t flags, int nargs) {
  sslua_encoded args;
  ss_call call;
  ss_call_begin(&call);
  sslua_encode(L, 1, nargs, (flags & SS_BY_REFERENCE) != 0, &args);
  int status = (int)ss_host_call(id, args.values, args.count, &call);
  return host_call_rest(L, status, flags, &call, &args);
}

/* sslua_host_call(), where a call of a script arrives. [fiber; may suspend; may raise] */
static inline int host_call(lua_State *L, uint32_t id, uint32_t flags, int nargs) {
  ss_value args[SSLUA_SMALL];
  ss_call call;
  if (!sslua_encode_numbers(L, nargs, args)) return host_call_any(L, id, flags, nargs);
  ss_call_begin(&call);
  int status = (int)ss_host_call(id, args, (uint32_t)nargs, &call);
  if (status == SS_OK && !call.reply && push_scalars(L, call.values, call.count)) return (int)call.count;
  return host_call_rest(L, status, flags, &call, NULL);
}

int sslua_host_call(lua_State *L, uint32_t id, uint32_t flags, int nargs) { return host_call(L, id, flags, nargs); }

/* Upvalue: id and flags in one integer. [fiber; may suspend; may raise] */
static int host_function(lua_State *L) {
  /* Integer upvalues of our own making: read without the API's checks. */
  uint64_t packed = (uint64_t)ivalue(&clCvalue(s2v(L->ci->func.p))->upvalue[0]);
  return host_call(L, (uint32_t)packed, (uint32_t)(packed >> 32), (int)(L->top.p - (L->ci->func.p + 1)));
}

/* The leaf behind the C function that runs. [fiber; no; no] */
static inline const ss_leaf *running_leaf(lua_State *L) {
  return pvalue(&clCvalue(s2v(L->ci->func.p))->upvalue[0]);
}

/* A leaf's ordinary call. By itself, so that what it keeps over calls is nothing that a leaf has to save.
   [fiber; may suspend; may raise] */
static __attribute__((noinline, cold)) int leaf_call(lua_State *L) {
  uint32_t id = (uint32_t)(running_leaf(L) - sslua_of(L)->host->leaves);
  return sslua_host_call(L, id, 0, (int)(L->top.p - (L->ci->func.p + 1)));
}

/* Upvalue: a leaf. [fiber; may suspend; may raise] */
static int leaf_function(lua_State *L) {
  ss_value args[SS_LEAF_ARGS], result;
  uint32_t nargs = 0;
  for (const StackValue *arg = L->ci->func.p + 1; arg < L->top.p; arg++) {
    if (nargs == SS_LEAF_ARGS || !sslua_number(s2v(arg), &args[nargs])) return leaf_call(L);
    nargs++;
  }
  int count = ss_leaf_run(running_leaf(L), args, nargs, &result);
  if (count == 0 || (count == 1 && push_scalar(L, &result))) return count;
  return leaf_call(L);
}

/* The same with the object alone: __close also gets the error. [fiber; may suspend; may raise] */
static int host_close(lua_State *L) {
  lua_settop(L, 1);
  return host_function(L);
}

/* [fiber; no; may raise] */
void sslua_push_function(lua_State *L, uint32_t id, uint32_t flags) {
  const ss_leaf *leaf = &sslua_of(L)->host->leaves[id];
  if (leaf->run) {
    lua_pushlightuserdata(L, (void *)leaf);
    lua_pushcclosure(L, leaf_function, 1);
    return;
  }
  lua_pushinteger(L, (lua_Integer)((uint64_t)flags << 32 | id));
  lua_pushcclosure(L, host_function, 1);
}

/* [fiber; no; may raise] */
void sslua_push_module(lua_State *L, const ss_module_desc *module) {
  lua_createtable(L, 0, (int)module->nfunctions);
  for (uint32_t i = 0; i < module->nfunctions; i++) {
    const ss_function_desc *f = &module->functions[i];
    sslua_push_function(L, f->id, f->flags);
    lua_setfield(L, -2, f->name);
  }
}

/* ---- classes ---- */

/* [fiber; no; may raise] */
static int object_gc(lua_State *L) {
  sslua_object *object = sslua_to_object(L, 1);
  if (object != NULL && object->key != 0) {
    uint64_t key = object->key;
    object->key = 0;
    ss_object_release(key);
  }
  return 0;
}

/* [fiber; no; may raise] */
static int object_eq(lua_State *L) {
  const sslua_object *a = sslua_to_object(L, 1), *b = sslua_to_object(L, 2);
  lua_pushboolean(L, a != NULL && b != NULL && a->key == b->key && a->class == b->class);
  return 1;
}

/* [fiber; no; may raise] */
static int object_tostring(lua_State *L) {
  const sslua_object *object = sslua_to_object(L, 1);
  if (object == NULL) return luaL_error(L, "not a host object");
  lua_pushfstring(L, "%s: %I", sslua_of(L)->host->classes[object->class].name, (LUAI_UACINT)object->key);
  return 1;
}

/* Upvalues: methods, getters (name → packed id). [fiber; may suspend; may raise] */
static int object_index(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TNIL) return 1;
  uint64_t packed = (uint64_t)lua_tointeger(L, -1);
  lua_settop(L, 1);
  return sslua_host_call(L, (uint32_t)packed, (uint32_t)(packed >> 32), 1);
}

/* [fiber; no; raises] */
static int object_newindex(lua_State *L) {
  return luaL_error(L, "a host object's fields cannot be set");
}

/* [fiber; no; may raise] */
static void make_class(lua_State *L, const ss_class_desc *class) {
  static const luaL_Reg events[] = {{"__gc", object_gc},
                                    {"__eq", object_eq},
                                    {"__tostring", object_tostring},
                                    {"__newindex", object_newindex},
                                    {NULL, NULL}};
  luaL_checkstack(L, 8, NULL);
  lua_createtable(L, 0, 8);
  int meta = lua_gettop(L);
  luaL_setfuncs(L, events, 0);
  lua_pushstring(L, class->name);
  lua_setfield(L, meta, "__name");
  lua_createtable(L, 0, (int)class->nmethods);
  for (uint32_t i = 0; i < class->nmethods; i++) {
    const ss_function_desc *f = &class->methods[i];
    int event = strncmp(f->name, "__", 2) == 0 && strcmp(f->name, "__gc") != 0 && strcmp(f->name, "__index") != 0;
    sslua_push_function(L, f->id, f->flags);
    lua_setfield(L, event ? meta : meta + 1, f->name);
    if (strcmp(f->name, "close") == 0) {
      lua_pushinteger(L, (lua_Integer)((uint64_t)f->flags << 32 | f->id));
      lua_pushcclosure(L, host_close, 1);
      lua_setfield(L, meta, "__close");
    }
  }
  /* For the prelude: the first class of a name, which is the library's own if it has one. */
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_methods);
  if (lua_getfield(L, -1, class->name) == LUA_TNIL) {
    lua_pushvalue(L, meta + 1);
    lua_setfield(L, -3, class->name);
  }
  lua_pop(L, 2);
  if (class->ngetters > 0) {
    lua_createtable(L, 0, (int)class->ngetters);
    for (uint32_t i = 0; i < class->ngetters; i++) {
      const ss_function_desc *f = &class->getters[i];
      lua_pushinteger(L, (lua_Integer)((uint64_t)f->flags << 32 | f->id));
      lua_setfield(L, -2, f->name);
    }
    lua_pushcclosure(L, object_index, 2);
  }
  lua_setfield(L, meta, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, meta, "__metatable");
}

/* [fiber; no; may raise] */
void sslua_classes_open(lua_State *L) {
  sslua *u = sslua_of(L);
  for (uint32_t i = 0; i < u->host->nclasses; i++) {
    make_class(L, &u->host->classes[i]);
    u->class_meta[i] = sslua_anchor(L);
  }
}
