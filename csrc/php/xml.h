/* What libxml2 keeps for each thread and PHP takes for a request's; see xml.c. */
#ifndef SIDESTACK_PHP_XML_H
#define SIDESTACK_PHP_XML_H

#include <stdint.h>

#include <libxml/xmlerror.h>
#include <libxml/xmlIO.h>

typedef struct ssphp_xml {
  xmlGenericErrorFunc generic;
  void *generic_context;
  xmlStructuredErrorFunc structured;
  void *structured_context;
  xmlParserInputBufferCreateFilenameFunc input;
  xmlOutputBufferCreateFilenameFunc output;
  xmlError last; /* owns its strings, wherever it is */
  int validate, load_dtd, substitute, keep_blanks, line_numbers, warnings, pedantic, indent, no_empty_tags;
} ssphp_xml;

/* Takes the thread's words; they are not to be used until others are put there. [interpreter thread; no; no] */
void ssphp_xml_save(ssphp_xml *xml);

/* What a thread begins with. [interpreter thread; no; no] */
void ssphp_xml_clear(void);

/* [interpreter thread; no; no] */
void ssphp_xml_load(const ssphp_xml *xml);

#endif
