/* See command.h. */
#include "command.h"

#include <stdlib.h>
#include <string.h>

void ssphp_command_begin(const ssphp_run *run) {
  size_t name = run->folder_len + 1 + run->name_len + 1, strings = name, count = 1;
  /* Arguments are strings, one value each; what is none ends them. */
  while (count <= run->nargs && (run->args[count - 1].tag == SS_STRING || run->args[count - 1].tag == SS_BYTES))
    strings += (size_t)run->args[count++ - 1].len + 1;
  char **argv = malloc((count + 1) * sizeof *argv + strings);
  if (!argv) return;
  char *next = (char *)(argv + count + 1);
  argv[0] = next;
  if (run->folder_len) {
    next = mempcpy(next, run->folder, run->folder_len);
    *next++ = '/';
  }
  next = mempcpy(next, run->name, run->name_len);
  *next++ = 0;
  for (size_t i = 1; i < count; i++) {
    argv[i] = next;
    next = mempcpy(next, run->args[i - 1].as.bytes, run->args[i - 1].len);
    *next++ = 0;
  }
  argv[count] = NULL;
  SG(request_info).argc = (int)count;
  SG(request_info).argv = argv;
  SG(request_info).path_translated = argv[0];
}

void ssphp_command_streams(void) {
  static const struct {
    const char *name, *path, *mode;
  } streams[] = {{"STDIN", "php://stdin", "rb"}, {"STDOUT", "php://stdout", "wb"}, {"STDERR", "php://stderr", "wb"}};
  for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
    php_stream *stream = php_stream_open_wrapper(streams[i].path, streams[i].mode, 0, NULL);
    if (!stream) continue;
    zend_constant constant;
    php_stream_to_zval(stream, &constant.value);
    ZEND_CONSTANT_SET_FLAGS(&constant, 0, PHP_USER_CONSTANT);
    constant.name = zend_string_init(streams[i].name, strlen(streams[i].name), 0);
    if (zend_register_constant(&constant) == FAILURE) zval_ptr_dtor(&constant.value);
  }
}

void ssphp_command_end(void) {
  free(SG(request_info).argv);
  SG(request_info).argc = 0;
  SG(request_info).argv = NULL;
  SG(request_info).path_translated = NULL;
}
