/*
 * What is told of a fault: in which objects its frames are, and the report. All of it runs in signal handlers, with the heap and the
 * stack in any state: memory is read through the kernel, which checks, and nothing is allocated.
 */
#include <dlfcn.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "faults.h"
#include "signals_state.h"

enum { OBJECTS = 256, NAME = 48 };

/* Written once each, under the lock in faults.c; read by handlers up to `known`. */
typedef struct object {
  uintptr_t start, end, base;
  int locks;
  char name[NAME];
} object;

static object objects[OBJECTS];
static _Atomic uint32_t known;

/* Functions of the libraries whose code may hold locks. Where the program itself defines malloc it is one of them. */
static const char *const HOLDERS[] = {"malloc",         "fwrite", "pthread_create", "__tls_get_addr", "_Unwind_Find_FDE",
                                      "__cxa_guard_acquire"};

static int holds(uintptr_t start, uintptr_t end, int program) {
  for (size_t i = 0; i < sizeof HOLDERS / sizeof *HOLDERS; i++) {
    uintptr_t address = (uintptr_t)dlsym(RTLD_DEFAULT, HOLDERS[i]);
    if (address >= start && address < end && (i == 0 || !program)) return 1;
  }
  return 0;
}

static int note(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size, (void)data;
  uintptr_t start = UINTPTR_MAX, end = 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    if (from < start) start = from;
    if (from + info->dlpi_phdr[i].p_memsz > end) end = from + info->dlpi_phdr[i].p_memsz;
  }
  uint32_t count = atomic_load(&known);
  if (end == 0) return 0;
  for (uint32_t i = 0; i < count; i++)
    if (objects[i].start == start && objects[i].end == end) return 0;
  if (count == OBJECTS) return 1;
  object *object = &objects[count];
  const char *name = info->dlpi_name && info->dlpi_name[0] ? info->dlpi_name : NULL;
  const char *slash = name ? strrchr(name, '/') : NULL;
  strncpy(object->name, slash ? slash + 1 : name ? name : "program", NAME - 1);
  object->start = start, object->end = end, object->base = info->dlpi_addr;
  object->locks = -1;
  atomic_store(&known, count + 1);
  return 0;
}

void ss_fault_note_objects(void) {
  dl_iterate_phdr(note, NULL);
  /* Not in the callback: the dynamic linker is locked there. The program comes first. */
  for (uint32_t i = 0, count = atomic_load(&known); i < count; i++)
    if (objects[i].locks < 0) objects[i].locks = holds(objects[i].start, objects[i].end, i == 0);
}

static const object *object_at(uintptr_t address) {
  for (uint32_t i = 0, count = atomic_load(&known); i < count; i++)
    if (address >= objects[i].start && address < objects[i].end) return &objects[i];
  return NULL;
}

int ss_fault_object(uintptr_t address) { return object_at(address) != NULL; }

const char *ss_fault_locks(uintptr_t address) {
  const object *object = object_at(address);
  return object && object->locks ? object->name : NULL;
}

int ss_fault_copy(void *to, const void *from, size_t size) {
  struct iovec local = {to, size}, remote = {(void *)from, size};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)size;
}

/* ---- the report ---- */

typedef struct line {
  char text[512];
  size_t length;
} line;

static void add(line *line, const char *text) {
  while (*text && line->length < sizeof line->text - 1) line->text[line->length++] = *text++;
}

static void add_number(line *line, uint64_t number, unsigned radix) {
  char digits[24];
  char *at = digits + sizeof digits;
  *--at = 0;
  do
    *--at = "0123456789abcdef"[number % radix];
  while ((number /= radix) != 0);
  add(line, at);
}

static void put(line *line) {
  line->text[line->length++] = '\n';
  for (size_t done = 0; done < line->length;) {
    ssize_t wrote = write(STDERR_FILENO, line->text + done, line->length - done);
    if (wrote <= 0) break;
    done += (size_t)wrote;
  }
  line->length = 0;
}

static const char *name_of(int signo) {
  switch (signo) {
    case SIGSEGV:
      return "SIGSEGV";
    case SIGBUS:
      return "SIGBUS";
    case SIGFPE:
      return "SIGFPE";
    case SIGILL:
      return "SIGILL";
    default:
      return "abort()";
  }
}

void ss_fault_report(const ss_fault *fault, const char *why, const char *where) {
  line line = {{0}, 0};
  add(&line, "sidestack: the process ends: ");
  add(&line, name_of(fault->signo));
  add(&line, fault->overflow ? " (stack overflow) at address 0x" : " at address 0x");
  add_number(&line, fault->address, 16);
  add(&line, " in fiber ");
  add_number(&line, fault->at.fiber, 10);
  add(&line, ", which cannot be contained: ");
  add(&line, why);
  if (where) {
    add(&line, " ");
    add(&line, where);
  }
  put(&line);
  for (uint32_t i = 0; i < fault->at.depth; i++) {
    uintptr_t frame = fault->at.frames[i];
    const object *object = object_at(frame);
    add(&line, "  ");
    add_number(&line, i, 10);
    add(&line, ": ");
    if (object) {
      add(&line, object->name);
      add(&line, "+");
    }
    add(&line, "0x");
    add_number(&line, frame - (object ? object->base : 0), 16);
    put(&line);
  }
  for (const char *text = fault->at.script; *text;) {
    add(&line, "  script: ");
    while (*text && *text != '\n' && line.length < sizeof line.text - 1) line.text[line.length++] = *text++;
    while (*text && *text++ != '\n') continue;
    put(&line);
  }
}
