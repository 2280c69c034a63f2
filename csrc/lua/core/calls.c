/*
 * Lua's calls and its loop (ldo.c and lvm.c) in one unit, so that what the loop does for each call and each return is made part
 * of it. A call of a C function from a script is then one call of the machine's, not three, and luaV_execute's frame is next
 * to the function's for whoever walks the stack.
 *
 * Both are static here: the declarations in ldo.h, which say extern, keep what was said first. Nobody but the two files
 * refers to them.
 */
struct lua_State;
struct CallInfo;
union StackValue;

#define SSLUA_IN_PLACE static inline __attribute__((always_inline))

SSLUA_IN_PLACE struct CallInfo *luaD_precall(struct lua_State *, union StackValue *, int);
SSLUA_IN_PLACE void luaD_poscall(struct lua_State *, struct CallInfo *, int);

#include "ldo.c"
#include "lvm.c"
