/*
 * The reference table: an array in the registry, with its free list in plain C memory, so that giving a slot back neither
 * allocates nor raises and may happen anywhere on a fiber.
 */
#include "refs.h"

#include "lmem.h"


/* [fiber; no; may raise] */
uint64_t sslua_ref_add(lua_State *L) {
  sslua *u = sslua_of(L);
  luaL_checkstack(L, 2, NULL);
  if (u->free_slot == 0) {
    if (u->nslots == u->slots_cap) {
      uint32_t cap = u->slots_cap ? u->slots_cap * 2 : 64;
      sslua_slot *grown = sslua_heap_realloc(u->heap, u->slots, cap * sizeof(*grown));
      if (grown == NULL) luaM_error(L);
      u->slots = grown;
      u->slots_cap = cap;
    }
    if (u->nslots == 0) u->nslots = 1; /* slot 0 is not used */
    u->slots[u->nslots].next_free = 0;
    u->slots[u->nslots].home = NULL;
    u->free_slot = u->nslots++;
  }
  uint32_t slot = u->free_slot;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_refs);
  lua_insert(L, -2);
  lua_rawseti(L, -2, slot); /* may raise, and runs no finalizer: the slot is still free */
  lua_pop(L, 1);
  u->free_slot = u->slots[slot].next_free;
  u->slots[slot].next_free = UINT32_MAX;
  u->slots[slot].script = u->run != NULL ? u->run->script : 0;
  u->slots[slot].home = sslua_home_share(u->run != NULL ? u->run->home : NULL);
  return slot;
}

/* [fiber; no; no, given two free stack slots] */
void sslua_ref_push(lua_State *L, uint64_t slot) {
  sslua *u = sslua_of(L);
  if (slot == 0 || slot >= u->nslots || u->slots[slot].next_free != UINT32_MAX) {
    lua_pushnil(L);
    return;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_refs);
  lua_rawgeti(L, -1, (lua_Integer)slot);
  lua_remove(L, -2);
}

/* [fiber; no; no] */
void sslua_ref_remove(sslua *u, uint64_t slot) {
  if (u->L == NULL || slot == 0 || slot >= u->nslots || u->slots[slot].next_free != UINT32_MAX) return;
  lua_State *L = u->L;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_refs);
  lua_pushnil(L);
  lua_rawseti(L, -2, (lua_Integer)slot);
  lua_pop(L, 1);
  sslua_home_drop(u->slots[slot].home);
  u->slots[slot].home = NULL;
  u->slots[slot].next_free = u->free_slot;
  u->free_slot = (uint32_t)slot;
}

/* [fiber; no; no] */
void sslua_refs_settle(sslua *u, ss_value *values, uint32_t entries) {
  for (uint32_t i = 0; i < entries; i++)
    if (values[i].tag == SS_FUNCTION || values[i].tag == SS_REFERENCE) {
      sslua_ref_remove(u, values[i].as.key);
      values[i].tag = SS_NIL;
    }
}

/* [fiber; no; no] */
sslua_home *sslua_ref_home(const sslua *u, uint64_t slot) {
  return slot < u->nslots && u->slots[slot].next_free == UINT32_MAX ? u->slots[slot].home : NULL;
}

/* [fiber; no; no] */
uint32_t sslua_ref_script(const sslua *u, uint64_t slot) {
  return slot < u->nslots && u->slots[slot].next_free == UINT32_MAX ? u->slots[slot].script : 0;
}
