/*
 * require.
 *
 * Names are looked up among the libraries and host modules first, then as files below the folder of the script that the
 * run works for: NAME.lua, then NAME/init.lua, dots in NAME being slashes. A module is loaded once per interpreter and
 * its value is shared by all fibers, as is every table in it. What a loading module sets as globals goes to the run that
 * loads it: kept if that is a script being loaded, gone with the call otherwise.
 *
 * A loader runs on the fiber that asked first, and may suspend. Who asks meanwhile waits in sidestack.core's
 * module_wait(), asynchronous, until module_done() is called for any module, and looks again. The records of modules being loaded say who loads, and runs say
 * which record they wait for; following these finds loops, in one fiber or across several. A record is taken off by
 * a to-be-closed guard, so that a loader which fails or is cancelled leaves the module unloaded, and the next
 * who asks tries again. A kill lets no guard run: where one ends, the records of the frames that it took are swept off, and
 * the host wakes who waits. Files are read at once, blocking: this is load time.
 */
#include "require.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "errors.h"
#include "host.h"
#include "sandbox.h"

static const char key_modules = 0; /* registry: folder \0 name → module */
static const char key_guard = 0;   /* registry: metatable of guards */

struct sslua_loading {
  struct sslua_loading *next;
  uint64_t id;
  const sslua_run *run; /* NULL: abandoned */
  uintptr_t frame;      /* of require() */
  size_t len;
  char key[];
};

/* [fiber; no; no] */
static struct sslua_loading *find(const sslua *u, const char *key, size_t len) {
  struct sslua_loading *l = u->loading;
  while (l != NULL && !(l->len == len && memcmp(l->key, key, len) == 0)) l = l->next;
  return l;
}

/* Takes the record at `at` off and frees it. [any; no; no] */
static void drop_loading(struct sslua_loading **at) {
  struct sslua_loading *gone = *at;
  *at = gone->next;
  sslua_heap_free(gone);
}

/* [interpreter thread; no; no] */
void sslua_loading_abandon(sslua *u, const sslua_run *run) {
  for (struct sslua_loading *l = u->loading; l != NULL; l = l->next)
    if (l->run == run) l->run = NULL;
}

/* [fiber; no; no] */
void sslua_loading_sweep(sslua *u, const sslua_run *run, const void *frame) {
  for (struct sslua_loading **at = &u->loading; *at != NULL;) {
    if ((*at)->run == run && (*at)->frame < (uintptr_t)frame)
      drop_loading(at);
    else
      at = &(*at)->next;
  }
}

/* [interpreter thread; no; no] */
void sslua_loading_free(sslua *u) {
  while (u->loading != NULL) drop_loading(&u->loading);
}

/* __close and __gc of a guard. [fiber; no; may raise] */
static int guard_close(lua_State *L) {
  sslua *u = sslua_of(L);
  uint64_t *guard = lua_touserdata(L, 1);
  if (guard == NULL || *guard == 0) return 0;
  struct sslua_loading **at = &u->loading;
  while (*at != NULL && (*at)->id != *guard) at = &(*at)->next;
  *guard = 0;
  if (*at == NULL) return 0;
  drop_loading(at);
  if (u->done_function != 0) sslua_host_call(L, u->done_function - 1, 0, 0);
  return 0;
}

/* Whether waiting for `l` would wait for `run` itself. What a run waits for is kept by id: the load may be over, and its
   record freed, before the run looks again. [fiber; no; no] */
static int loops(const sslua *u, const sslua_run *run, const struct sslua_loading *l) {
  while (l != NULL && l->run != NULL) {
    if (l->run == run) return 1;
    uint64_t waits = l->run->waits;
    l = u->loading;
    while (l != NULL && l->id != waits) l = l->next;
  }
  return 0;
}

/* Host call in a protected call. [fiber; may suspend; may raise] */
static int wait_body(lua_State *L) {
  return sslua_host_call(L, sslua_of(L)->wait_function - 1, 0, 0);
}

/* Waits until nobody loads the module of key `at`. [fiber; may suspend; may raise] */
static void wait_for(lua_State *L, int at, const char *name) {
  sslua *u = sslua_of(L);
  sslua_run *run = u->run;
  size_t len;
  const char *key = lua_tolstring(L, at, &len);
  struct sslua_loading *l;
  while ((l = find(u, key, len)) != NULL) {
    if (loops(u, run, l)) luaL_error(L, "loop in require of module '%s'", name);
    if (l->run == NULL || u->wait_function == 0) luaL_error(L, "module '%s' is being loaded by another fiber", name);
    lua_pushcfunction(L, wait_body);
    run->waits = l->id;
    int status = lua_pcall(L, 0, 0, 0);
    run->waits = 0;
    if (status != LUA_OK) lua_error(L);
  }
}

/* Only names that stay below the folder. [fiber; no; may raise] */
static void check_name(lua_State *L, const char *name, size_t len) {
  if (len == 0 || len > 200 || strlen(name) != len || strstr(name, "..") != NULL || strpbrk(name, "/\\") != NULL ||
      name[0] == '.' || name[len - 1] == '.')
    luaL_error(L, "bad module name '%s': dots separate folders, and '..' and '/' are refused", name);
}

/* Compiles `folder`/`relative`; 0: there is no such file, and nothing is pushed. [fiber; no; may raise] */
static int load_file(lua_State *L, const char *folder, const char *relative) {
  struct stat st;
  const char *path = *folder != '\0' ? lua_pushfstring(L, "%s/%s", folder, relative) : lua_pushstring(L, relative);
  const char *chunk = lua_pushfstring(L, "@%s", relative);
  if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) {
    lua_pop(L, 2);
    return 0;
  }
  size_t size = (size_t)st.st_size, read = 0;
  char *text = lua_newuserdatauv(L, size + 1, 0);
  FILE *file = fopen(path, "rb"); /* nothing is raised until it is closed */
  if (file != NULL) {
    read = fread(text, 1, size, file);
    fclose(file);
  }
  if (file == NULL || read != size) luaL_error(L, "cannot read '%s'", relative);
  const char *mode = sslua_of(L)->settings & SSLUA_BINARY_CHUNKS ? "bt" : "t";
  if (luaL_loadbufferx(L, text, size, chunk, mode) != LUA_OK) lua_error(L);
  lua_insert(L, -4);
  lua_pop(L, 3);
  return 1;
}

/* Pushes the module's chunk and its relative path. [fiber; no; may raise] */
static void load_module(lua_State *L, const char *name, const char *folder) {
  const char *relative = luaL_gsub(L, name, ".", "/");
  const char *file = lua_pushfstring(L, "%s.lua", relative);
  if (!load_file(L, folder, file)) {
    const char *init = lua_pushfstring(L, "%s/init.lua", relative);
    if (!load_file(L, folder, init))
      luaL_error(L, "module '%s' not found: no host module, no file '%s', no file '%s'", name, file, init);
  }
  lua_pushvalue(L, -2);
}

/* [fiber; may suspend; may raise] */
static int require(lua_State *L) {
  size_t len;
  const char *name = luaL_checklstring(L, 1, &len);
  sslua *u = sslua_of(L);
  lua_settop(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_loaded);
  lua_pushvalue(L, 1);
  if (lua_rawget(L, 2) != LUA_TNIL) return 1;
  check_name(L, name, len);
  const sslua_run *run = u->run;
  const char *folder = NULL;
  size_t folder_len = 0;
  if (run->home != NULL) {
    folder = run->home->folder;
    folder_len = run->home->len;
  } else if (run->script != 0 && run->script <= u->nscripts) {
    folder = u->scripts[run->script - 1].folder;
    folder_len = u->scripts[run->script - 1].folder_len;
  }
  if (folder == NULL) return luaL_error(L, "module '%s' not found: there is no host module of this name", name);
  lua_settop(L, 1);
  lua_pushlstring(L, folder, folder_len);
  lua_pushlstring(L, "", 1);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_insert(L, 2);
  lua_concat(L, 3); /* 2: folder, 3: key */
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_modules); /* 4 */
  for (;;) {
    lua_pushvalue(L, 3);
    if (lua_rawget(L, 4) != LUA_TNIL) return 1;
    lua_pop(L, 1);
    size_t key_len;
    const char *key = lua_tolstring(L, 3, &key_len);
    if (find(u, key, key_len) == NULL) break;
    wait_for(L, 3, name);
  }
  /* 5: the guard, which takes the record off whatever happens */
  uint64_t *guard = lua_newuserdatauv(L, sizeof(*guard), 0);
  *guard = 0;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_guard);
  lua_setmetatable(L, 5);
  lua_toclose(L, 5);
  size_t key_len;
  const char *key = lua_tolstring(L, 3, &key_len);
  if (find(u, key, key_len) != NULL) return luaL_error(L, "loop in require of module '%s'", name);
  struct sslua_loading *l = sslua_heap_realloc(u->heap, NULL, sizeof(*l) + key_len);
  if (l == NULL) return luaL_error(L, "not enough memory");
  l->id = ++u->loading_ids;
  l->run = u->run;
  l->frame = (uintptr_t)__builtin_frame_address(0);
  l->len = key_len;
  memcpy(l->key, key, key_len);
  l->next = u->loading;
  u->loading = l;
  *guard = l->id;
  load_module(L, name, lua_tostring(L, 2)); /* ... chunk, path */
  lua_pushvalue(L, 1);
  lua_insert(L, -2);
  lua_call(L, 2, 1);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushboolean(L, 1);
  }
  lua_pushvalue(L, 3);
  lua_pushvalue(L, -2);
  lua_rawset(L, 4);
  return 1;
}

/* [fiber; no; may raise] */
void sslua_require_open(lua_State *L) {
  sslua *u = sslua_of(L);
  for (uint32_t i = 0; i < u->host->nmodules; i++) {
    const ss_module_desc *m = &u->host->modules[i];
    if (strcmp(m->name, "sidestack.core") != 0) continue;
    for (uint32_t k = 0; k < m->nfunctions; k++) {
      if (strcmp(m->functions[k].name, "module_wait") == 0) u->wait_function = m->functions[k].id + 1;
      if (strcmp(m->functions[k].name, "module_done") == 0) u->done_function = m->functions[k].id + 1;
    }
  }
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_modules);
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, guard_close);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "__gc");
  lua_setfield(L, -2, "__close");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_guard);
  sethvalue2s(L, L->top.p, u->base);
  L->top.p++;
  lua_pushcfunction(L, require);
  lua_setfield(L, -2, "require");
  lua_createtable(L, 0, 2);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sslua_key_loaded);
  sslua_protect(L, "package.loaded");
  lua_setfield(L, -2, "loaded");
  lua_pushliteral(L, "/\n;\n?\n!\n-\n");
  lua_setfield(L, -2, "config");
  sslua_protect(L, "package");
  lua_pushvalue(L, -1);
  sslua_set_loaded(L, "package");
  lua_setfield(L, -2, "package");
  lua_pop(L, 1);
}
