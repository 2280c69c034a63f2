/*
 * A frame that catches any exception, in C: the frame is in assembly, because only there can it name a personality
 * routine of its own; the routine says that the frame handles whatever comes, and has control return to its second half.
 *
 * Without it the unwinder would go on past the fiber's first frame into Rust, which ends the process. A forced unwind
 * (pthread_exit) is let through, as it has to be. Nothing of the C++ runtime is linked: what is needed of it is looked
 * for when there is an exception.
 */
#include "barrier.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unwind.h>

#include "api.h"

_Static_assert(offsetof(struct ss_barrier_call, data) == 8 && offsetof(struct ss_barrier_call, args) == 16 &&
                   offsetof(struct ss_barrier_call, nargs) == 24 && offsetof(struct ss_barrier_call, results) == 32 &&
                   offsetof(struct ss_barrier_call, caught) == 40,
               "as the code below has them");

#ifndef __x86_64__
#error "write ss_barrier for this processor"
#endif

/* rbx keeps `call`: the unwinder restores it for the landing, where rax is the exception. */
__asm__(".text\n"
        ".p2align 4\n"
        ".hidden ss_barrier\n"
        ".globl ss_barrier\n"
        ".type ss_barrier, @function\n"
        "ss_barrier:\n"
        ".cfi_startproc\n"
        ".cfi_personality 0x1b, ss_barrier_personality\n"
        "push %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset %rbp, -16\n"
        "mov %rsp, %rbp\n"
        ".cfi_def_cfa_register %rbp\n"
        "push %rbx\n"
        ".cfi_offset %rbx, -24\n"
        "sub $8, %rsp\n"
        "mov %rdi, %rbx\n"
        "mov (%rbx), %rax\n"
        "mov 8(%rbx), %rdi\n"
        "mov 16(%rbx), %rsi\n"
        "mov 24(%rbx), %rdx\n"
        "mov 32(%rbx), %rcx\n"
        "call *%rax\n"
        "1:\n"
        "mov -8(%rbp), %rbx\n"
        "mov %rbp, %rsp\n"
        ".cfi_remember_state\n"
        "pop %rbp\n"
        ".cfi_def_cfa %rsp, 8\n"
        ".cfi_restore %rbp\n"
        ".cfi_restore %rbx\n"
        "ret\n"
        ".cfi_restore_state\n"
        ".hidden ss_barrier_landing\n"
        ".globl ss_barrier_landing\n"
        "ss_barrier_landing:\n"
        "mov %rax, 40(%rbx)\n"
        "xor %eax, %eax\n"
        "jmp 1b\n"
        ".cfi_endproc\n"
        ".size ss_barrier, . - ss_barrier\n");

extern char ss_barrier_landing[] __attribute__((visibility("hidden")));

/* What the unwinder asks of the frame. [fiber; no; no] */
__attribute__((visibility("hidden"), used)) _Unwind_Reason_Code ss_barrier_personality(
    int version, _Unwind_Action actions, _Unwind_Exception_Class class, struct _Unwind_Exception *exception,
    struct _Unwind_Context *context) {
  (void)class;
  if (version != 1) return _URC_FATAL_PHASE1_ERROR;
  if (actions & _UA_FORCE_UNWIND) return _URC_CONTINUE_UNWIND;
  if (actions & _UA_SEARCH_PHASE) return _URC_HANDLER_FOUND;
  if (!(actions & _UA_HANDLER_FRAME)) return _URC_CONTINUE_UNWIND;
  enum { RAX = 0 }; /* in DWARF's numbers */
  _Unwind_SetGR(context, RAX, (uintptr_t)exception);
  _Unwind_SetIP(context, (uintptr_t)ss_barrier_landing);
  return _URC_INSTALL_CONTEXT;
}

void *ss_barrier_runtime(const char *name) {
  void *found = dlsym(RTLD_DEFAULT, name);
  /* A library that was opened locally has brought it in: it is not in the default scope. */
  static const char *const runtimes[] = {"libstdc++.so.6", "libc++abi.so.1"};
  for (size_t i = 0; !found && i < sizeof runtimes / sizeof *runtimes; i++) {
    void *library = dlopen(runtimes[i], RTLD_LAZY | RTLD_NOLOAD);
    if (!library) continue;
    found = dlsym(library, name);
    dlclose(library); /* whoever loaded it keeps it */
  }
  return found;
}

int ss_barrier_caught(struct ss_barrier_call *call) {
  struct _Unwind_Exception *exception = call->caught;
  call->caught = NULL;
  char message[256] = "an exception left a C function";
  uint64_t language = (uint64_t)exception->exception_class & ~(uint64_t)0xff;
  static const uint64_t cxx = UINT64_C(0x474e5543432b2b00); /* "GNUCC++" */
  void *(*begin)(void *) = NULL;
  void (*end)(void) = NULL;
  void *(*type)(void) = NULL;
  *(void **)&begin = ss_barrier_runtime("__cxa_begin_catch");
  *(void **)&end = ss_barrier_runtime("__cxa_end_catch");
  *(void **)&type = ss_barrier_runtime("__cxa_current_exception_type");
  if (language == cxx && begin && end && type) {
    begin(exception);
    /* std::type_info: its table, then its name. */
    struct {
      void *table;
      const char *name;
    } const *info = type();
    const char *name = info ? info->name : "of an unknown type";
    snprintf(message, sizeof message, "a C++ exception left a C function: its type is %s", name + (*name == '*'));
    end();
  } else {
    _Unwind_DeleteException(exception);
  }
  return ss_api_error(SIDESTACK_ERROR, "cpp_exception", message);
}
