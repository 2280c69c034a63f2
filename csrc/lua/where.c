/*
 * Where a script is: the frames of a fiber's Lua threads, innermost first.
 *
 * Read from Lua's structures directly: lua_getinfo() is the guest's, and looks up. In a signal handler they may be broken;
 * there each is copied by way of the kernel, which says if it is not there. Every loop is bounded. A frame that has called
 * something, or that stopped in the hook, has saved its instruction, so its line is exact; that of the one that runs is the
 * line of the last instruction that saved its place. Frames of chunks with no name of a file (the prelude, which is
 * "=sidestack") are passed over: their caller is what a reader of the script knows.
 *
 * Lua does not say which thread resumed a coroutine. But a thread that has resumed one is in a C function whose first
 * argument (coroutine.resume), or first upvalue (coroutine.wrap), that one is.
 */
#include "../faults.h"
#include "../text.h"
#include "interrupt.h"
#include "ldebug.h"
#include "universe.h"

#include <stddef.h>
#include <string.h>

enum { THREADS = 32, FRAMES = 200, NAME = 120 };

#define READ(to, from) read(&(to), (from), sizeof(to))
/* The same before `member`, which may be shorter than its type, or not there. */
#define READ_BEFORE(member, to, from) read(&(to), (from), offsetof(__typeof__(to), member))

/* The line of instruction `pc`, as luaG_getfuncline() finds it; -1: unknown. [any; no; no] */
static int line_of(ss_reader *read, const Proto *p, ptrdiff_t pc) {
  if (p->lineinfo == NULL || pc < 0 || pc >= p->sizecode || pc >= p->sizelineinfo) return -1;
  int line = p->linedefined;
  ptrdiff_t base = -1;
  AbsLineInfo entry;
  ptrdiff_t first = pc / MAXIWTHABS - 1;
  for (ptrdiff_t i = first < 0 ? 0 : first; i < p->sizeabslineinfo; i++) {
    if (!READ(entry, &p->abslineinfo[i])) return -1;
    if (entry.pc > pc) break;
    base = entry.pc, line = entry.line;
  }
  ls_byte steps[4 * MAXIWTHABS];
  ptrdiff_t count = pc - base;
  if (count > (ptrdiff_t)sizeof steps) return -1;
  if (count > 0 && !read(steps, p->lineinfo + base + 1, (size_t)count)) return -1;
  for (ptrdiff_t i = 0; i < count; i++) line += steps[i];
  return line;
}

/* "app.lua:14: in function <app.lua:9>", or only the place. 0: it is no frame of a script's. [any; no; no] */
static int add_frame(ss_reader *read, const CallInfo *ci, int whole, ss_text *out) {
  TValue function;
  LClosure closure;
  Proto p;
  TString source;
  char name[NAME + 1] = {0}, id[LUA_IDSIZE];
  if (!isLua(ci) || !read(&function, ci->func.p, sizeof function) || !ttisLclosure(&function)) return 0;
  if (!READ_BEFORE(upvals, closure, (const void *)function.value_.gc) || !READ(p, closure.p)) return 0;
  if (p.source == NULL || !READ_BEFORE(contents, source, p.source)) return 0;
  size_t count = source.shrlen != 0xFF ? source.shrlen : source.u.lnglen;
  if (count > NAME) count = NAME;
  if (!read(name, getstr(p.source), count) || name[0] == '=') return 0;
  luaO_chunkid(id, name, count);
  if (whole && out->length > 0) ss_text_add(out, "\n");
  ss_text_add(out, id);
  int line = line_of(read, &p, ci->u.l.savedpc - p.code - 1);
  if (line > 0) ss_text_add_line(out, (unsigned)line);
  if (!whole) return 1;
  ss_text_add(out, p.linedefined == 0 ? ": in main chunk" : ": in function <");
  if (p.linedefined == 0) return 1;
  ss_text_add(out, id);
  ss_text_add_line(out, (unsigned)p.linedefined);
  ss_text_add(out, ">");
  return 1;
}

/* The coroutine that a thread has resumed; NULL: none. [any; no; no] */
static lua_State *resumed(ss_reader *read, const lua_State *L) {
  CallInfo ci;
  TValue function, argument;
  CClosure closure;
  lua_State state;
  lua_State *candidates[2] = {NULL, NULL};
  if (L->ci == NULL || !READ(ci, L->ci) || isLua(&ci) || !READ(function, ci.func.p)) return NULL;
  if (ci.func.p + 1 < L->top.p && READ(argument, ci.func.p + 1) && ttisthread(&argument))
    candidates[0] = (lua_State *)argument.value_.gc;
  if (ttisCclosure(&function) && READ(closure, (const void *)function.value_.gc) && closure.nupvalues > 0 &&
      ttisthread(&closure.upvalue[0]))
    candidates[1] = (lua_State *)closure.upvalue[0].value_.gc;
  for (int i = 0; i < 2; i++)
    if (candidates[i] && READ(state, candidates[i]) && state.status == LUA_OK && state.ci != &candidates[i]->base_ci)
      return candidates[i];
  return NULL;
}

/* All frames, or the innermost's place. `current`: the innermost thread, where it is known. [any; no; no] */
static void write_stack(ss_reader *read, lua_State *base, lua_State *current, int whole, ss_text *out) {
  lua_State *threads[THREADS + 1];
  lua_State state;
  int count = 0, found = 0;
  for (lua_State *L = base; L != NULL && count < THREADS && READ(state, L); L = resumed(read, &state)) {
    int seen = 0;
    for (int i = 0; i < count; i++) seen |= threads[i] == L;
    if (seen) break;
    threads[count++] = L;
    found |= L == current;
  }
  if (current != NULL && !found) threads[count++] = current;
  int frames = 0;
  while (count-- > 0) {
    CallInfo ci;
    if (!READ(state, threads[count])) continue;
    for (const CallInfo *next = state.ci; next != NULL && frames++ < FRAMES && READ(ci, next); next = ci.previous)
      if (add_frame(read, &ci, whole, out) && !whole) return;
  }
}

void sslua_where(char *bytes, size_t size) {
  ss_text out = {bytes, size, 0};
  lua_State *current = sslua_thread_state.current;
  sslua universe;
  sslua_run run;
  lua_State *base = NULL;
  if (ss_fault_copy(&universe, ss_thread_state.guest, sizeof universe) && universe.run != NULL &&
      ss_fault_copy(&run, universe.run, sizeof run))
    base = run.thread;
  write_stack(ss_fault_copy, base, current, 1, &out);
}

size_t sslua_stack(const sslua_run *run, const sslua_saved *saved, int whole, char *bytes, size_t size) {
  ss_text out = {bytes, size, 0};
  write_stack(ss_read_plainly, run->thread, saved->current, whole, &out);
  return out.length;
}
