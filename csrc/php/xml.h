/* What libxml2 keeps by thread, and PHP's extensions for a request. */
#ifndef SIDESTACK_PHP_XML_H
#define SIDESTACK_PHP_XML_H

#include <libxml/globals.h>
#include <libxml/xmlerror.h>
#include <libxml/xmlIO.h>

/* A request's share of libxml2's state. */
typedef struct ssphp_xml {
  xmlGenericErrorFunc generic;
  xmlStructuredErrorFunc structured;
  void *generic_context, *structured_context;
  xmlParserInputBufferCreateFilenameFunc input;
  xmlOutputBufferCreateFilenameFunc output;
  xmlError last; /* its strings move with it */
} ssphp_xml;

/* Takes the thread's state away: another request's is to come. [interpreter thread; no; no] */
void ssphp_xml_save(ssphp_xml *xml);

/* Puts it back. [interpreter thread; no; no] */
void ssphp_xml_load(const ssphp_xml *xml);

/* What the state is before any request: to load for a new context. [interpreter thread; no; no] */
void ssphp_xml_fresh(ssphp_xml *xml);

#endif
