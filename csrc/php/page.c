/* See page.h. What crosses here goes to the host functions of src/php/host.rs. */
#include "page.h"

#include "common.h"

#include <stdlib.h>
#include <string.h>

#include "ext/standard/head.h"
#include "php_main.h"

enum function { REQUEST, SEAT, VARIABLES, HEADERS, HEAD, WRITE, FINISH, LAST, READ, NEXT, LOG, FUNCTIONS };

/* ---- crossing ---- */

/* The host's number of a function; -1: it has none. [fiber; no; no] */
static int64_t function_id(enum function which) {
  /* An interpreter thread serves one engine, all its life. */
  static __thread int64_t ids[FUNCTIONS];
  static const char *const names[FUNCTIONS] = {"sidestack.page.request", "sidestack.page.seat",   "sidestack.page.variables",
                                               "sidestack.page.headers", "sidestack.page.head",   "sidestack.page.write",
                                               "sidestack.page.finish",  "sidestack.page.last",   "sidestack.page.read",
                                               "sidestack.page.next",    "sidestack.page.log"};
  if (ids[which] == 0) ids[which] = ss_function_id(names[which]) + 1;
  return ids[which] - 1;
}

/* A host call; whatever its status, ss_host_end() follows. [fiber; may suspend; no] */
static int cross(enum function which, ss_value *args, uint32_t count, ss_call *call) {
  ss_call_begin(call);
  int64_t function = function_id(which);
  if (function < 0) return SS_ERROR;
  return ss_host_call((uint32_t)function, args, count, call);
}

/* Which page it is about, the first argument of functions that any fiber in its context may call: nothing, the caller's own, as
   long as no other fiber can come here. */
static ss_value seat_value(const ssphp_page *page) {
  return page->seat == 0 ? (ss_value){.tag = SS_NIL} : (ss_value){SS_OBJECT, 0, {.key = page->seat}};
}

static ss_value text_value(const char *bytes, size_t length) {
  /* No string of PHP's or buffer of ours is that long; see ssphp_page_write(). */
  return (ss_value){SS_BYTES, (uint32_t)length, {.bytes = bytes}};
}

/* ---- the request ---- */

/* In the order of `request` in src/php/host.rs. */
enum { METHOD, QUERY, CONTENT_TYPE, CONTENT_LENGTH, COOKIES, AUTHORIZATION, PROTOCOL, NAME, SCRIPT, ROOT, REQUEST_VALUES };

/* Copies of a run's strings, in one block. */
typedef struct room {
  char *next;
} room;

static size_t string_size(const ss_value *value) {
  return value->tag == SS_STRING || value->tag == SS_BYTES ? (size_t)value->len + 1 : 0;
}

static ssphp_text copy(room *room, const ss_value *value) {
  if (string_size(value) == 0) return (ssphp_text){NULL, 0};
  char *bytes = room->next;
  memcpy(bytes, value->as.bytes, value->len);
  bytes[value->len] = 0;
  room->next += value->len + 1;
  return (ssphp_text){bytes, value->len};
}

static size_t strings_size(const ss_value *values, uint32_t count) {
  size_t size = 0;
  for (uint32_t i = 0; i < count; i++) size += string_size(&values[i]);
  return size;
}

/* Takes the request out of the host's answer, and tells PHP. 0: memory is short. [fiber; no; no] */
static int take(ssphp_page *page, const ss_value *values) {
  page->block = malloc(strings_size(values, REQUEST_VALUES));
  if (!page->block) return 0;
  room room = {page->block};
  sapi_request_info *info = &SG(request_info);
  info->request_method = copy(&room, &values[METHOD]).bytes;
  info->query_string = (char *)copy(&room, &values[QUERY]).bytes;
  /* As FPM: "" where there is none. */
  ssphp_text type = copy(&room, &values[CONTENT_TYPE]);
  info->content_type = type.bytes ? type.bytes : "";
  int64_t length = values[CONTENT_LENGTH].as.integer;
  info->content_length = length < 0 ? 0 : length;
  page->cookies = copy(&room, &values[COOKIES]);
  ssphp_text authorization = copy(&room, &values[AUTHORIZATION]);
  info->proto_num = (int)values[PROTOCOL].as.integer;
  info->request_uri = (char *)copy(&room, &values[NAME]).bytes;
  info->path_translated = (char *)copy(&room, &values[SCRIPT]).bytes;
  page->root = copy(&room, &values[ROOT]);
  info->headers_only = info->no_headers = info->headers_read = 0;
  php_handle_auth_data(authorization.bytes);
  SG(sapi_headers).http_response_code = 200;
  page->idle = page->ended = page->gone = 0;
  page->used = 0;
  return 1;
}

/* Asks for the request of the page that the call has now; 0: the call is no page's, -1: it cannot be answered.
   [fiber; no; no] */
static int ask(ssphp_page *page) {
  ss_call call;
  int status = cross(REQUEST, NULL, 0, &call), found = status == SS_KILL ? -1 : 0;
  if (status == SS_OK && call.count == 1) {
    found = page->worker = 1;
  } else if (status == SS_OK && call.count == REQUEST_VALUES) {
    found = take(page, call.values) ? 1 : -1;
  }
  ss_host_end(&call);
  return found;
}

void ssphp_page_open(void) {
  ssphp_context *context = ssphp_current();
  ssphp_page *page = context->last_page;
  if (!page) {
    page = context->last_page = malloc(sizeof *page);
    if (!page) return;
    ssphp_pages_discard(page, sizeof *page); /* most pages' output is short */
  }
  memset(page, 0, offsetof(ssphp_page, buffer));
  page->idle = 1;
  /* A page's call that is being cancelled ends when it first looks up. */
  if (ask(page) == 1) context->page = page;
}

void ssphp_page_close(void) {
  ssphp_page *page = ssphp_page_here();
  if (!page) return;
  ssphp_page_forget(page);
  if (page->seat != 0) ss_object_release(page->seat);
  ssphp_current()->page = NULL;
}

void ssphp_page_forget(ssphp_page *page) {
  sapi_request_info *info = &SG(request_info);
  /* What points into the block. (What PHP made itself is freed by sapi_deactivate().) */
  info->request_method = NULL;
  info->query_string = info->request_uri = info->path_translated = info->cookie_data = NULL;
  info->content_type = NULL;
  info->content_length = 0;
  free(page->block);
  free(page->variables.first);
  free(page->headers.first);
  page->block = NULL;
  page->variables = page->headers = (ssphp_pairs){NULL, 0};
  page->cookies = page->root = (ssphp_text){NULL, 0};
  page->idle = 1;
}

/* Of the list at `list`; memory may be short. */
static ssphp_pairs copy_pairs(const ss_value *list) {
  uint32_t count = list->len / 2;
  ssphp_pairs pairs = {malloc(count * sizeof(ssphp_pair) + strings_size(list + 1, list->len)), 0};
  if (!pairs.first) return pairs;
  pairs.count = count;
  room room = {(char *)(pairs.first + count)};
  for (uint32_t i = 0; i < count; i++) {
    pairs.first[i].name = copy(&room, &list[1 + 2 * i]);
    pairs.first[i].value = copy(&room, &list[2 + 2 * i]);
  }
  return pairs;
}

/* [fiber; no; no] */
static const ssphp_pairs *pairs(ssphp_page *page, enum function which, ssphp_pairs *known) {
  if (known->first || page->idle) return known;
  ss_value seat = seat_value(page);
  ss_call call;
  if (cross(which, &seat, 1, &call) == SS_OK) *known = copy_pairs(call.values);
  ss_host_end(&call);
  return known;
}

const ssphp_pairs *ssphp_page_variables(ssphp_page *page) { return pairs(page, VARIABLES, &page->variables); }
const ssphp_pairs *ssphp_page_headers(ssphp_page *page) { return pairs(page, HEADERS, &page->headers); }

void ssphp_page_share(ssphp_page *page) {
  if (page->seat != 0) return;
  ss_call call;
  if (cross(SEAT, NULL, 0, &call) == SS_OK) {
    ss_claim(&call.values[0]);
    page->seat = call.values[0].as.key;
  }
  ss_host_end(&call);
}

int ssphp_page_next(ssphp_page *page, int leave) {
  ss_value arg = {SS_BOOL, 0, {.integer = leave}};
  ss_call call;
  int status = cross(NEXT, &arg, 1, &call);
  int more = status == SS_OK ? call.values[0].as.integer != 0 : status == SS_KILL || page->worker ? -1 : -2;
  ss_host_end(&call);
  if (more != 1) return more;
  return ask(page);
}

/* ---- the response ---- */

/* Sends bytes; `which`: WRITE, FINISH or LAST. [fiber; may suspend; no] */
static int pass(ssphp_page *page, enum function which, const char *bytes, size_t length) {
  ss_value args[] = {seat_value(page), text_value(bytes, length)};
  ss_call call;
  int status = cross(which, args, 2, &call);
  /* The client is gone: the script learns it as it is its habit. Cancelled: it does when it next looks up. */
  if (status == SS_OK && which == WRITE && call.values[0].as.integer == 0) page->gone = 1;
  ss_host_end(&call);
  if (status != SS_OK) zend_atomic_bool_store_ex(&EG(vm_interrupt), true);
  return status == SS_OK && !page->gone;
}

static int drain(ssphp_page *page) {
  size_t used = page->used;
  page->used = 0;
  return pass(page, WRITE, page->buffer, used);
}

int ssphp_page_write(ssphp_page *page, const char *bytes, size_t length) {
  if (page->ended) return 1;
  if (page->gone) return 0;
  if (length > sizeof page->buffer - page->used) {
    if (page->used > 0 && !drain(page)) return 0;
    /* Large output in pieces, so that a client that reads slowly makes its script wait. */
    while (length >= sizeof page->buffer) {
      size_t piece = length < 4 * sizeof page->buffer ? length : 4 * sizeof page->buffer;
      if (!pass(page, WRITE, bytes, piece)) return 0;
      bytes += piece;
      length -= piece;
    }
  }
  memcpy(page->buffer + page->used, bytes, length);
  page->used += length;
  return 1;
}

int ssphp_page_flush(ssphp_page *page) {
  if (page->ended) return 1;
  return !page->gone && drain(page);
}

void ssphp_page_head(ssphp_page *page, sapi_headers_struct *headers) {
  size_t count = zend_llist_count(&headers->headers), at = 3;
  ss_value *args = malloc((at + count) * sizeof *args);
  if (!args) return;
  args[0] = seat_value(page);
  args[1] = (ss_value){SS_INT, 0, {.integer = headers->http_response_code}};
  args[2] = (ss_value){SS_LIST, (uint32_t)count, {.integer = 0}};
  zend_llist_position place;
  for (sapi_header_struct *header = zend_llist_get_first_ex(&headers->headers, &place); header;
       header = zend_llist_get_next_ex(&headers->headers, &place))
    args[at++] = text_value(header->header, header->header_len);
  ss_call call;
  cross(HEAD, args, 3, &call);
  ss_host_end(&call);
  free(args);
}

void ssphp_page_finish(ssphp_page *page, int last) {
  if (page->idle || page->ended) return;
  page->ended = 1;
  size_t used = page->used;
  page->used = 0;
  pass(page, last ? LAST : FINISH, page->buffer, used);
}

size_t ssphp_page_read(ssphp_page *page, char *buffer, size_t length) {
  size_t got = 0;
  if (page->idle || page->ended) return 0;
  while (got < length) {
    ss_value args[] = {seat_value(page), {SS_INT, 0, {.integer = (int64_t)(length - got)}}};
    ss_call call;
    int status = cross(READ, args, 2, &call);
    size_t some = status == SS_OK && string_size(&call.values[0]) ? call.values[0].len : 0;
    if (some) memcpy(buffer + got, call.values[0].as.bytes, some);
    ss_host_end(&call);
    if (status != SS_OK) zend_atomic_bool_store_ex(&EG(vm_interrupt), true);
    if (some == 0) break;
    got += some;
  }
  return got;
}

/* ---- the log ---- */

int ssphp_log(int level, const char *message) {
  ss_value args[] = {{SS_INT, 0, {.integer = level}}, text_value(message, strlen(message))};
  ss_call call;
  int status = cross(LOG, args, 2, &call);
  ss_host_end(&call);
  return status == SS_OK;
}
