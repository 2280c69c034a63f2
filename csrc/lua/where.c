/*
 * Reads a script's place from structures that may be broken, in a signal handler: each is copied by way of the kernel, which
 * says if it is not there, and every loop is bounded.
 */
#include "../faults.h"
#include "interrupt.h"
#include "ldebug.h"

enum { FRAMES = 200, NAME = 120 };

#define COPY(to, from) ss_fault_copy(&(to), (from), sizeof(to))

/* The line of instruction `pc`, as luaG_getfuncline() finds it; -1: unknown. [any; no; no] */
static int line_of(const Proto *p, ptrdiff_t pc) {
  if (p->lineinfo == NULL || pc < 0 || pc >= p->sizecode || pc >= p->sizelineinfo) return -1;
  int line = p->linedefined;
  ptrdiff_t base = -1;
  AbsLineInfo entry;
  ptrdiff_t first = pc / MAXIWTHABS - 1;
  for (ptrdiff_t i = first < 0 ? 0 : first; i < p->sizeabslineinfo; i++) {
    if (!COPY(entry, &p->abslineinfo[i])) return -1;
    if (entry.pc > pc) break;
    base = entry.pc, line = entry.line;
  }
  ls_byte steps[4 * MAXIWTHABS];
  ptrdiff_t count = pc - base;
  if (count > (ptrdiff_t)sizeof steps) return -1;
  if (count > 0 && !ss_fault_copy(steps, p->lineinfo + base + 1, (size_t)count)) return -1;
  for (ptrdiff_t i = 0; i < count; i++) line += steps[i];
  return line;
}

/* Appends to `text`; returns the new length. [any; no; no] */
static size_t add(char *text, size_t size, size_t length, const char *more, size_t count) {
  for (size_t i = 0; i < count && length + 1 < size; i++) text[length++] = more[i];
  text[length] = '\0';
  return length;
}

static void write_place(const Proto *p, int line, char *text, size_t size) {
  char name[NAME] = {0};
  TString source;
  if (p->source == NULL || !COPY(source, p->source)) return;
  size_t count = source.shrlen != 0xFF ? source.shrlen : source.u.lnglen;
  if (count > NAME) count = NAME;
  if (!ss_fault_copy(name, getstr(p->source), count)) return;
  int named = count > 0 && (name[0] == '@' || name[0] == '=');
  size_t length = named ? add(text, size, 0, name + 1, count - 1) : add(text, size, 0, "a text", 6);
  if (line <= 0) return;
  char digits[16];
  size_t at = sizeof digits;
  do
    digits[--at] = (char)('0' + line % 10);
  while ((line /= 10) != 0);
  length = add(text, size, length, ":", 1);
  add(text, size, length, digits + at, sizeof digits - at);
}

void sslua_where(char *text, size_t size) {
  lua_State *L = sslua_thread_state.current;
  lua_State state;
  CallInfo ci;
  if (L == NULL || !COPY(state, L)) return;
  const CallInfo *next = state.ci;
  for (int frames = 0; next != NULL && frames < FRAMES; next = ci.previous, frames++) {
    if (!COPY(ci, next)) return;
    if (!isLua(&ci)) continue;
    TValue function;
    LClosure closure;
    Proto p;
    if (!ss_fault_copy(&function, ci.func.p, sizeof function) || !ttisLclosure(&function)) return;
    if (!COPY(closure, (const void *)function.value_.gc) || !COPY(p, closure.p)) return;
    write_place(&p, line_of(&p, ci.u.l.savedpc - p.code - 1), text, size);
    return;
  }
}
