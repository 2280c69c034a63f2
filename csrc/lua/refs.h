/* The reference table: guest values that the host holds by slot. */
#ifndef SIDESTACK_LUA_REFS_H
#define SIDESTACK_LUA_REFS_H

#include "universe.h"

/* Pops a value into a slot. [fiber; no; may raise] */
uint64_t sslua_ref_add(lua_State *L);
/* Pushes a slot's value; nil if it has none. [fiber; no; no, given two free stack slots] */
void sslua_ref_push(lua_State *L, uint64_t slot);
/* [fiber; no; no] */
void sslua_ref_remove(sslua *u, uint64_t slot);
/* Removes the references of a run of values that the host has not claimed. [fiber; no; no] */
void sslua_refs_settle(sslua *u, ss_value *values, uint32_t entries);
/* The script whose run made the slot, + 1; 0: none. [fiber; no; no] */
uint32_t sslua_ref_script(const sslua *u, uint64_t slot);
/* The home of that run; NULL: none. [fiber; no; no] */
sslua_home *sslua_ref_home(const sslua *u, uint64_t slot);

#endif
