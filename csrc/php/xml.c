/*
 * libxml2 has its error handlers, its last error and the functions that open files by thread. PHP sets them as a request
 * begins, by libxml_use_internal_errors() too, and takes them away as it ends: with other requests on the thread they have to
 * change hands at each switch. Their addresses are fixed for a thread, and asked for once.
 */
#include "xml.h"

#include <string.h>

#define INITIAL_EXEC __attribute__((tls_model("initial-exec")))

typedef struct places {
  xmlGenericErrorFunc *generic;
  xmlStructuredErrorFunc *structured;
  void **generic_context, **structured_context;
  xmlParserInputBufferCreateFilenameFunc *input;
  xmlOutputBufferCreateFilenameFunc *output;
  xmlError *last;
} places;

static __thread places here INITIAL_EXEC;
static __thread ssphp_xml fresh INITIAL_EXEC;

/* [interpreter thread; no; no] */
static const places *find(void) {
  if (here.last != NULL) return &here;
  here.generic = __xmlGenericError();
  here.structured = __xmlStructuredError();
  here.generic_context = __xmlGenericErrorContext();
  here.structured_context = __xmlStructuredErrorContext();
  here.input = __xmlParserInputBufferCreateFilenameValue();
  here.output = __xmlOutputBufferCreateFilenameValue();
  here.last = __xmlLastError();
  ssphp_xml_save(&fresh);
  return &here;
}

/* [interpreter thread; no; no] */
void ssphp_xml_save(ssphp_xml *xml) {
  const places *at = find();
  xml->generic = *at->generic;
  xml->structured = *at->structured;
  xml->generic_context = *at->generic_context;
  xml->structured_context = *at->structured_context;
  xml->input = *at->input;
  xml->output = *at->output;
  xml->last = *at->last;
  memset(at->last, 0, sizeof(*at->last));
}

/* [interpreter thread; no; no] */
void ssphp_xml_load(const ssphp_xml *xml) {
  const places *at = find();
  *at->generic = xml->generic;
  *at->structured = xml->structured;
  *at->generic_context = xml->generic_context;
  *at->structured_context = xml->structured_context;
  *at->input = xml->input;
  *at->output = xml->output;
  *at->last = xml->last;
}

/* [interpreter thread; no; no] */
void ssphp_xml_fresh(ssphp_xml *xml) {
  find();
  *xml = fresh;
}
