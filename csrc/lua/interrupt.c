/*
 * Interrupts.
 *
 * The tick (a signal on the interpreter thread, or the worker) sets bits in ss_thread_state.interrupt and calls
 * sslua_interrupt(), which arms the one hook on the Lua thread that runs now. The hook fires at the next VM instruction,
 * takes itself off, and asks the host what to do: ss_poll(). Where no instruction runs, in loops of C functions, the
 * polls of config.h find the bits. (Not in string.pack over a format of nothing but byte orders: there is no macro in its way.)
 *
 *              where            slice        deadline, cancel
 *   hook       VM instruction   may suspend  may raise
 *   look_up    API, C loops     left set     may raise
 *
 * Slices are given between VM instructions only: a library function may hold a FILE or an iterator over an API call, and
 * the shim a free slot. A look-up tells ss_poll() so: the bits that it came for may be stale, and a slice's set.
 * In a finalizer, and on the main state (where only finalizers run guest code), ss_poll() is told so and never suspends.
 *
 * The kill is a light userdata that is thrown past errfunc, so that no handler sees it, and past all protected calls of its
 * Lua thread that rest on the thread's base instead of a setjmp of their own. Other pcalls and xpcalls,
 * coroutine.resume and close can catch it; each is a C function whose return enters the core through lua_lock, which finds the cancel bit
 * still set, asks, and is told to kill again: a catcher runs not one instruction, whichever Lua thread it is on. Where
 * a finalizer's caller catches, the hook, armed again, does the same. `allowhook`, which Lua turns off in finalizers
 * and hooks, is turned on by the tick once a deadline or the grace of a
 * cancel has passed: an error handler called for an error out of the hook runs inside the hook.
 */
#include "interrupt.h"

#include "errors.h"
#include "host.h"

__thread sslua_thread sslua_thread_state __attribute__((tls_model("initial-exec")));

static const char kill_tag = 0;

/* [fiber; no; no] */
int sslua_is_kill(lua_State *L, int index) { return lua_touserdata(L, index) == (const void *)&kill_tag; }

/* Raises what ss_poll() said, or returns. [fiber; may suspend; may raise] */
static void poll_host(lua_State *L, int how) {
  sslua *u = sslua_of(L);
  ss_call call = {0};
  /* Nothing below is interrupted in its turn. A throw out of here is caught by LUAI_TRY, which sets `current` itself. */
  sslua_thread_state.current = NULL;
  if (L == u->L || sslua_in_finalizer(u)) how |= SS_POLL_FINALIZER;
  int status = ss_poll(&call, how);
  if (status == SS_KILL) {
    ss_host_end(&call);
    sslua_kill(L);
  }
  if (status == SS_ERROR) {
    luaL_checkstack(L, 8, NULL);
    sslua_error_push(L, call.values);
    ss_host_end(&call);
    sslua_thread_state.current = L;
    lua_error(L);
  }
  ss_host_end(&call);
  sslua_thread_state.current = L;
}

/* The one hook function. [fiber; may suspend; may raise] */
static void hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  if (ss_thread_state.interrupt == 0 || ss_thread_state.in_host || ss_thread_state.place != SS_ON_FIBER) return;
  if (sslua_thread_state.current != L) return;
  if (L == sslua_of(L)->L && !sslua_in_finalizer(sslua_of(L))) return;
  poll_host(L, 0);
}

/*
 * lua_sethook(), but for the number of frames that are told: that one tells all, and with 200,000 of them a handler took
 * longer than a tick. The innermost Lua frame is the one that goes on; what it returns to looks at L->hookmask.
 */
enum { TRAPPED_FRAMES = 64 };

/* [interpreter thread or its signal handler; no; no] */
void sslua_arm(lua_State *L) {
  if (ss_thread_state.interrupt & (SS_INTERRUPT_DEADLINE | SS_INTERRUPT_CANCEL)) L->allowhook = 1;
  L->hook = hook;
  L->basehookcount = L->hookcount = 1;
  L->hookmask = LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT;
  CallInfo *ci = L->ci;
  for (int frames = 0; ci != NULL && frames < TRAPPED_FRAMES; ci = ci->previous, frames++)
    if (isLua(ci)) ci->u.l.trap = 1;
}

/* [signal handler on the interpreter thread; no; no] */
void sslua_interrupt(void) {
  lua_State *L = sslua_thread_state.current;
  if (L != NULL) sslua_arm(L);
}

/* [fiber; no; may raise] */
void sslua_look_up(lua_State *L) {
  if (sslua_thread_state.current != L || L == NULL) return;
  if (!(ss_thread_state.interrupt & (SS_INTERRUPT_DEADLINE | SS_INTERRUPT_CANCEL))) return;
  if (ss_thread_state.in_host || ss_thread_state.place != SS_ON_FIBER) return;
  if (L == sslua_of(L)->L && !sslua_in_finalizer(sslua_of(L))) return; /* the shim's own work */
  poll_host(L, SS_POLL_NO_SLICE);
}

/* [fiber; no; may raise] */
void sslua_look_up_current(void) { sslua_look_up(sslua_thread_state.current); }

/* [fiber; no; raises] */
_Noreturn void sslua_kill(lua_State *L) {
  L->errfunc = 0;
  /* Protected calls that could be resumed, perhaps 100,000 of them: none is to recover. Below a call that the host made, or
   * its clean-up, which may be where the kill ends, the thread is not yieldable: there a setjmp is nearer, and once past it
   * the next look-up kills again. */
  if (yieldable(L))
    for (CallInfo *ci = L->ci; ci != NULL; ci = ci->previous) ci->callstatus &= (unsigned short)~CIST_YPCALL;
  sslua_thread_state.current = L;
  sslua_arm(L);
  setpvalue(s2v(L->top.p), (void *)&kill_tag); /* one of EXTRA_STACK's slots, as luaD_errerr does */
  L->top.p++;
  luaD_throw(L, LUA_ERRRUN);
}
