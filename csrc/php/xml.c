/*
 * libxml2's words of the thread. PHP sets its handlers of errors and its openers of files there at a request's start and
 * takes them away at its end, libxml_use_internal_errors() sets one in between, and DOM's switches are set there while a document is
 * read, which may call PHP code. So they are each request's.
 *
 * Their places do not change as long as a thread lives.
 */
#include "xml.h"

#include <libxml/globals.h>
#include <libxml/parser.h>

typedef struct places {
  xmlGenericErrorFunc *generic;
  void **generic_context;
  xmlStructuredErrorFunc *structured;
  void **structured_context;
  xmlParserInputBufferCreateFilenameFunc *input;
  xmlOutputBufferCreateFilenameFunc *output;
  xmlError *last;
  int *validate, *load_dtd, *substitute, *keep_blanks, *line_numbers, *warnings, *pedantic, *indent, *no_empty_tags;
  ssphp_xml initial; /* what a thread begins with */
} places;

/* [interpreter thread; no; no] */
static void save(const places *from, ssphp_xml *xml);

/* [interpreter thread; no; no] */
static const places *here(void) {
  static __thread places thread __attribute__((tls_model("initial-exec")));
  if (thread.generic == NULL) {
    thread.generic_context = &xmlGenericErrorContext;
    thread.structured = &xmlStructuredError;
    thread.structured_context = &xmlStructuredErrorContext;
    thread.input = __xmlParserInputBufferCreateFilenameValue();
    thread.output = __xmlOutputBufferCreateFilenameValue();
    thread.last = &xmlLastError;
    thread.validate = &xmlDoValidityCheckingDefaultValue;
    thread.load_dtd = &xmlLoadExtDtdDefaultValue;
    thread.substitute = &xmlSubstituteEntitiesDefaultValue;
    thread.keep_blanks = &xmlKeepBlanksDefaultValue;
    thread.line_numbers = &xmlLineNumbersDefaultValue;
    thread.warnings = &xmlGetWarningsDefaultValue;
    thread.pedantic = &xmlPedanticParserDefaultValue;
    thread.indent = &xmlIndentTreeOutput;
    thread.no_empty_tags = &xmlSaveNoEmptyTags;
    thread.generic = &xmlGenericError;
    save(&thread, &thread.initial);
  }
  return &thread;
}

static void save(const places *from, ssphp_xml *xml) {
  *xml = (ssphp_xml){
      .generic = *from->generic,
      .generic_context = *from->generic_context,
      .structured = *from->structured,
      .structured_context = *from->structured_context,
      .input = *from->input,
      .output = *from->output,
      .last = *from->last,
      .validate = *from->validate,
      .load_dtd = *from->load_dtd,
      .substitute = *from->substitute,
      .keep_blanks = *from->keep_blanks,
      .line_numbers = *from->line_numbers,
      .warnings = *from->warnings,
      .pedantic = *from->pedantic,
      .indent = *from->indent,
      .no_empty_tags = *from->no_empty_tags,
  };
}

void ssphp_xml_save(ssphp_xml *xml) { save(here(), xml); }

void ssphp_xml_clear(void) { ssphp_xml_load(&here()->initial); }

void ssphp_xml_load(const ssphp_xml *xml) {
  const places *to = here();
  *to->generic = xml->generic;
  *to->generic_context = xml->generic_context;
  *to->structured = xml->structured;
  *to->structured_context = xml->structured_context;
  *to->input = xml->input;
  *to->output = xml->output;
  *to->last = xml->last;
  *to->validate = xml->validate;
  *to->load_dtd = xml->load_dtd;
  *to->substitute = xml->substitute;
  *to->keep_blanks = xml->keep_blanks;
  *to->line_numbers = xml->line_numbers;
  *to->warnings = xml->warnings;
  *to->pedantic = xml->pedantic;
  *to->indent = xml->indent;
  *to->no_empty_tags = xml->no_empty_tags;
}
