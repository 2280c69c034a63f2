/*
 * Where a suspended fiber is, for people.
 *
 * Read from Lua's frames directly: lua_getinfo() is the guest's, and looks up. A Lua frame that has called something, or
 * that stopped in the hook, has saved its instruction, so the line is exact. Frames whose chunk has no name of a file
 * (the prelude, which is "=sidestack") are passed over: their caller is what a reader of the script knows.
 */
#include "universe.h"

#include "ldebug.h"

#include <stdio.h>

/* The innermost frame of a thread that is a script's; NULL: none. [interpreter thread; no; no] */
static CallInfo *script_frame(lua_State *L) {
  for (CallInfo *ci = L->ci; ci != NULL && ci != &L->base_ci; ci = ci->previous) {
    if (!isLua(ci)) continue;
    const TString *source = ci_func(ci)->p->source;
    if (source != NULL && *getstr(source) != '=') return ci;
  }
  return NULL;
}

/* [interpreter thread; no; no] */
size_t sslua_position(const sslua_run *run, const sslua_saved *saved, char *text, size_t size) {
  /* At the end of a slice no thread is current: then the fiber's own tells, from which a coroutine is a call. */
  CallInfo *ci = saved->current != NULL ? script_frame(saved->current) : NULL;
  if (ci == NULL && run->thread != NULL) ci = script_frame(run->thread);
  if (ci == NULL) return 0;
  const Proto *p = ci_func(ci)->p;
  char name[LUA_IDSIZE];
  luaO_chunkid(name, getstr(p->source), tsslen(p->source));
  int length = snprintf(text, size, "%s:%d", name, luaG_getfuncline(p, pcRel(ci->u.l.savedpc, p)));
  if (length < 0) return 0;
  return (size_t)length < size ? (size_t)length : size - 1;
}
