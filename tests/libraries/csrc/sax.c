/* expat on fibers: its SAX callbacks wait for the host, in the middle of XML_Parse(). */
#include "library.h"

#include <expat.h>
#include <malloc.h>

/* A document on its way through the parser. */
struct document {
  XML_Parser parser;
  int64_t number;
  int status; /* of the host call that failed */
  char *text; /* what it is made into */
  size_t length, room;
};

/*
 * Of all threads: bytes that expat holds; callbacks that came after their parser was told to stop; how the last parser
 * that was stopped ended.
 */
static int64_t live, late;
static int stopped_status, stopped_error;

/* [any thread; no; no], as the next two */
static void *count(void *memory) {
  if (memory) __atomic_add_fetch(&live, (int64_t)malloc_usable_size(memory), __ATOMIC_RELAXED);
  return memory;
}
static void uncount(void *memory) {
  if (memory) __atomic_sub_fetch(&live, (int64_t)malloc_usable_size(memory), __ATOMIC_RELAXED);
}
static void *allocate(size_t size) { return count(malloc(size)); }
static void *resize(void *memory, size_t size) {
  int64_t before = memory ? (int64_t)malloc_usable_size(memory) : 0;
  void *moved = realloc(memory, size);
  if (!moved) return NULL;
  __atomic_sub_fetch(&live, before, __ATOMIC_RELAXED);
  return count(moved);
}
static void release(void *memory) {
  uncount(memory);
  free(memory);
}

/* A callback cannot fail: it tells the parser to, which returns when the callback has. [fiber; no; no] */
static void stop(struct document *document, int status) {
  document->status = status;
  XML_StopParser(document->parser, XML_FALSE);
}

/* [fiber; no; no] */
static void append(struct document *document, const char *text, size_t length) {
  if (document->length + length > document->room) {
    size_t room = 2 * (document->length + length);
    char *larger = realloc(document->text, room);
    if (!larger) {
      stop(document, SIDESTACK_NO_MEMORY);
      return;
    }
    document->text = larger;
    document->room = room;
  }
  memcpy(document->text + document->length, text, length);
  document->length += length;
}

/* A host function of the document and a name, whose text is put there. [fiber; may suspend; no] */
static void insert(struct document *document, const char *function, const char *name) {
  if (document->status) {
    __atomic_add_fetch(&late, 1, __ATOMIC_RELAXED);
    return;
  }
  sidestack_results results;
  sidestack_results_init(&results);
  sidestack_value run[] = {sidestack_int(document->number), sidestack_string(name)};
  int status = sidestack_call_name(function, run, 2, &results);
  if (status) {
    stop(document, status);
  } else {
    size_t length;
    const char *text = sidestack_text_of(results.values, &length);
    if (text) append(document, text, length);
  }
  sidestack_results_free(&results);
}

/* [fiber; may suspend; no] */
static void on_start(void *data, const XML_Char *name, const XML_Char **attributes) {
  (void)attributes;
  insert(data, "sax.start", name);
}

/* [fiber; may suspend; no] */
static void on_end(void *data, const XML_Char *name) { insert(data, "sax.end", name); }

/* [fiber; no; no] */
static void on_text(void *data, const XML_Char *text, int length) { append(data, text, (size_t)length); }

/*
 * (number, text, piece): the document's text, its elements made into what the host says, parsed in pieces of so many
 * bytes.
 */
FUNCTION(library_sax) {
  (void)data, (void)nargs;
  static const XML_Memory_Handling_Suite memory = {allocate, resize, release};
  struct document document = {.number = sidestack_int_or(&args[0], 0)};
  size_t length, piece = (size_t)sidestack_int_or(&args[2], 1);
  const char *text = sidestack_text_of(&args[1], &length);
  document.parser = XML_ParserCreate_MM(NULL, &memory, NULL);
  if (!document.parser) return SIDESTACK_NO_MEMORY;
  XML_SetUserData(document.parser, &document);
  XML_SetElementHandler(document.parser, on_start, on_end);
  XML_SetCharacterDataHandler(document.parser, on_text);
  enum XML_Status parsed = XML_STATUS_OK;
  for (size_t at = 0; at < length && parsed == XML_STATUS_OK; at += piece) {
    size_t left = length - at;
    parsed = XML_Parse(document.parser, text + at, (int)(left < piece ? left : piece), left <= piece);
  }
  int status = document.status;
  if (status) {
    stopped_status = status;
    stopped_error = (int)XML_GetErrorCode(document.parser);
  } else if (parsed != XML_STATUS_OK) {
    status = sidestack_fail("xml", XML_ErrorString(XML_GetErrorCode(document.parser)));
  } else {
    status = sidestack_return(results, sidestack_text(document.text, document.length));
  }
  XML_ParserFree(document.parser);
  free(document.text);
  return status;
}

/* Bytes that expat holds; late callbacks; how the parser that was stopped last ended. [any thread; no; no] */
void library_sax_state(int64_t *bytes, int64_t *late_callbacks, int *status, int *aborted) {
  *bytes = __atomic_load_n(&live, __ATOMIC_RELAXED);
  *late_callbacks = __atomic_load_n(&late, __ATOMIC_RELAXED);
  *status = stopped_status;
  *aborted = stopped_error == XML_ERROR_ABORTED;
}
