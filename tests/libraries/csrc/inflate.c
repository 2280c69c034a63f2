/*
 * zlib's inflateBack() on fibers: it asks a callback for more input and gives its output to another one. Here both wait
 * for the host: the first for a socket, the second for whatever takes the bytes.
 */
#include "library.h"

#define ZLIB_CONST
#include <zlib.h>

/* A gzip stream that comes from the host's object `Connection`. */
struct stream {
  z_stream z;
  sidestack_value connection;
  sidestack_results chunk; /* what `z.next_in` points into */
  int status;              /* of the host call that failed */
  uint32_t crc;
  uint32_t size;
};

/* Of all threads: what has been allocated for zlib and is not freed. */
static int64_t live;

/* [any thread; no; no] */
static void *allocate(void *data, unsigned items, unsigned size) {
  (void)data;
  void *memory = calloc(items, size);
  if (memory) __atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
  return memory;
}

/* [any thread; no; no] */
static void release(void *data, void *memory) {
  (void)data;
  __atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
  free(memory);
}

/* The next bytes; 0 at the end, or if the host call fails. [fiber; may suspend; no] */
static unsigned take(void *data, const unsigned char **bytes) {
  struct stream *stream = data;
  size_t length = 0;
  if (stream->status == SIDESTACK_OK)
    stream->status = sidestack_call_name("Connection.read", &stream->connection, 1, &stream->chunk);
  *bytes = NULL;
  if (stream->status == SIDESTACK_OK && stream->chunk.count)
    *bytes = (const unsigned char *)sidestack_text_of(stream->chunk.values, &length);
  return (unsigned)length;
}

/* Gives bytes away; nonzero stops. [fiber; may suspend; no] */
static int put(void *data, unsigned char *bytes, unsigned length) {
  struct stream *stream = data;
  stream->crc = (uint32_t)crc32(stream->crc, bytes, length);
  stream->size += length;
  sidestack_value run[] = {stream->connection, sidestack_bytes(bytes, length)};
  stream->status = sidestack_call_name("Connection.keep", run, 2, NULL);
  return stream->status;
}

/* The next byte of what is not compressed, or -1. [fiber; may suspend; no] */
static int byte(struct stream *stream) {
  if (stream->z.avail_in == 0) {
    const unsigned char *bytes;
    stream->z.avail_in = take(stream, &bytes);
    stream->z.next_in = bytes;
    if (stream->z.avail_in == 0) return -1;
  }
  stream->z.avail_in--;
  return *stream->z.next_in++;
}

/* -1 at the end. [fiber; may suspend; no] */
static int64_t number(struct stream *stream, int bytes) {
  int64_t value = 0;
  for (int i = 0; i < bytes; i++) {
    int next = byte(stream);
    if (next < 0) return -1;
    value |= (int64_t)next << (8 * i);
  }
  return value;
}

/* A member's header (RFC 1952): whether it is one. [fiber; may suspend; no] */
static int header(struct stream *stream) {
  enum { CHECKSUM = 2, EXTRA = 4, NAME = 8, COMMENT = 16 };
  if (number(stream, 3) != 0x088b1f) return 0;
  int flags = byte(stream);
  if (flags < 0 || number(stream, 6) < 0) return 0;
  if (flags & EXTRA)
    for (int64_t left = number(stream, 2); left > 0; left--)
      if (byte(stream) < 0) return 0;
  for (int text = NAME; text <= COMMENT; text <<= 1)
    if (flags & text)
      for (int next = 1; next != 0;)
        if ((next = byte(stream)) < 0) return 0;
  return !(flags & CHECKSUM) || number(stream, 2) >= 0;
}

/* One member: NULL, or what is wrong with it. [fiber; may suspend; no] */
static const char *member(struct stream *stream, unsigned char *window) {
  if (!header(stream)) return "no gzip header";
  stream->crc = 0;
  stream->size = 0;
  if (inflateBackInit(&stream->z, 15, window) != Z_OK) return "no memory";
  int code = inflateBack(&stream->z, take, stream, put, stream);
  const char *wrong = code == Z_STREAM_END ? NULL : code == Z_BUF_ERROR ? "it ends too early" : "it is corrupt";
  inflateBackEnd(&stream->z);
  if (!wrong && (number(stream, 4) != stream->crc || number(stream, 4) != stream->size)) wrong = "wrong checksum";
  return wrong;
}

/* (a Connection): inflates its one member, as gzip does; the size. */
FUNCTION(library_inflate) {
  (void)data, (void)nargs;
  struct stream stream = {.connection = args[0]};
  unsigned char *window = malloc(32768);
  if (!window) return SIDESTACK_NO_MEMORY;
  stream.z.zalloc = allocate;
  stream.z.zfree = release;
  const char *wrong = member(&stream, window);
  if (!wrong && (byte(&stream) >= 0)) wrong = "something follows it";
  free(window);
  sidestack_results_free(&stream.chunk);
  if (stream.status) return stream.status;
  return wrong ? sidestack_fail("gzip", wrong) : sidestack_return(results, sidestack_int(stream.size));
}

/* What zlib holds. [any thread; no; no] */
int64_t library_inflate_live(void) { return __atomic_load_n(&live, __ATOMIC_RELAXED); }

/*
 * Makes a gzip stream of bytes, with a name and a comment in its header: its length, 0 if there is no room.
 * [any thread; no; no]
 */
size_t library_gzip(const unsigned char *bytes, size_t length, unsigned char *to, size_t room) {
  z_stream z = {0};
  gz_header head = {.name = (unsigned char *)"name", .comment = (unsigned char *)"comment", .hcrc = 1,
                    .extra = (unsigned char *)"extra", .extra_len = 5};
  if (deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return 0;
  deflateSetHeader(&z, &head);
  z.next_in = bytes;
  z.avail_in = (unsigned)length;
  z.next_out = to;
  z.avail_out = (unsigned)room;
  int code = deflate(&z, Z_FINISH);
  deflateEnd(&z);
  return code == Z_STREAM_END ? z.total_out : 0;
}
