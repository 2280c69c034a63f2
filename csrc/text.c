/* See text.h. */
#include "text.h"

#include <string.h>

int ss_read_plainly(void *to, const void *from, size_t size) {
  memcpy(to, from, size);
  return 1;
}

void ss_text_add(ss_text *text, const char *more) {
  while (*more && text->length + 1 < text->size) text->bytes[text->length++] = *more++;
  text->bytes[text->length] = '\0';
}

void ss_text_add_line(ss_text *text, unsigned line) {
  char digits[16];
  size_t at = sizeof digits;
  digits[--at] = '\0';
  do
    digits[--at] = (char)('0' + line % 10);
  while ((line /= 10) > 0);
  digits[--at] = ':';
  ss_text_add(text, digits + at);
}
