/*
 * Where a script is: the frames of its PHP code, innermost first.
 *
 * Read from the engine's structures directly. In a signal handler they may be broken; there each is copied by way of the kernel,
 * which says if it is not there. Every loop is bounded. A frame that has called something has saved its instruction, so its
 * line is exact; that of the one that runs is the line of the last instruction that saved its place. The frames of a Fiber are
 * linked to those of who resumed it. Functions of PHP's own are passed over.
 */
#include "swap.h"

#include "../faults.h"
#include "../text.h"

#include <string.h>

enum { FRAMES = 1000, NAME = 120 };

#define READ(to, from) read(&(to), (from), sizeof(to))

/* Adds the end of a string's text, after its last `/` where there is one. [any, also in a handler; no; no] */
static int add_text(ss_reader *read, const zend_string *string, ss_text *out) {
  size_t len;
  char name[NAME + 1] = {0};
  if (string == NULL || !READ(len, &string->len)) return 0;
  size_t skipped = len > NAME ? len - NAME : 0;
  if (!read(name, string->val + skipped, len - skipped)) return 0;
  const char *slash = strrchr(name, '/');
  ss_text_add(out, slash != NULL && slash[1] != '\0' ? slash + 1 : name);
  return 1;
}

/* " in Page->show()"; the code of a file outside of functions has no name. [any, also in a handler; no; no] */
static void add_in(ss_reader *read, const zend_op_array *code, ss_text *out) {
  const zend_string *class;
  if (code->function_name == NULL) return;
  ss_text_add(out, ": in ");
  /* A closure's own name is its place. */
  if ((code->fn_flags & (ZEND_ACC_CLOSURE | ZEND_ACC_FAKE_CLOSURE)) == ZEND_ACC_CLOSURE) {
    ss_text_add(out, "{closure}()");
    return;
  }
  if (code->scope != NULL && READ(class, &code->scope->name) && add_text(read, class, out))
    ss_text_add(out, code->fn_flags & ZEND_ACC_STATIC ? "::" : "->");
  add_text(read, code->function_name, out);
  ss_text_add(out, "()");
}

/* "page.php:14: in show()", or only the place. 0: it is no frame of a script's. [any, also in a handler; no; no] */
static int add_place(ss_reader *read, const zend_execute_data *frame, int whole, ss_text *out) {
  uint8_t type;
  zend_op_array code;
  zend_op instruction;
  if (frame->func == NULL || !READ(type, &frame->func->type) || type != ZEND_USER_FUNCTION || !READ(code, &frame->func->op_array))
    return 0;
  if (frame->opline == NULL || !READ(instruction, frame->opline)) return 0;
  size_t before = out->length;
  if (whole && out->length > 0) ss_text_add(out, "\n");
  if (!add_text(read, code.filename, out)) {
    out->length = before;
    out->bytes[before] = '\0';
    return 0;
  }
  ss_text_add_line(out, instruction.lineno);
  if (whole) add_in(read, &code, out);
  return 1;
}

/* All frames, or the innermost one's place. [any, also in a handler; no; no] */
static void write_stack(ss_reader *read, const zend_execute_data *innermost, int whole, ss_text *out) {
  zend_execute_data frame;
  const zend_execute_data *next = innermost;
  for (int depth = 0; next != NULL && depth < FRAMES && READ(frame, next); next = frame.prev_execute_data, depth++)
    if (add_place(read, &frame, whole, out) && !whole) return;
}

/* [interpreter thread, also in a signal handler; no; no] */
void ssphp_where(char *bytes, size_t size) {
  ss_text out = {bytes, size, 0};
  ssphp home;
  ssphp_context context;
  bytes[0] = '\0';
  if (!ss_fault_copy(&home, ss_thread_state.guest, sizeof(home)) || home.loaded == NULL) return;
  if (!ss_fault_copy(&context, home.loaded, sizeof(context)) || !context.open) return;
  write_stack(ss_fault_copy, EG(current_execute_data), 1, &out);
}

/* Of its words in the executor, as swap.c keeps them: those of the run that has the executor are PHP's own. [interpreter thread; no; no] */
size_t ssphp_stack(const ssphp_run *run, int whole, char *bytes, size_t size) {
  ss_text out = {bytes, size, 0};
  const ssphp_context *context = run->context;
  if (context == NULL || !context->open) return 0;
  write_stack(ss_read_plainly, ssphp_frame(run), whole, &out);
  return out.length;
}
