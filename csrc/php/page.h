/*
 * Web pages: what a request says, and the way of its response to the host (src/php). The SAPI (sapi.c) and the functions of
 * worker scripts (worker.c) are built on it.
 *
 * A page belongs to PHP's request, and so to its context, from ssphp_page_open() to ssphp_page_close(). Without one (a script
 * that `sidestack run` runs, a function that the host calls) output goes to the process's own.
 */
#ifndef SIDESTACK_PHP_PAGE_H
#define SIDESTACK_PHP_PAGE_H

#include "inner.h"

/* Output that is gathered before it crosses. */
#define SSPHP_PAGE_BUFFER 16384

/* A string of the request; terminated, for PHP's sake. */
typedef struct ssphp_text {
  const char *bytes; /* NULL: there is none */
  size_t length;
} ssphp_text;

typedef struct ssphp_pair {
  ssphp_text name, value;
} ssphp_pair;

/* Names and values, in one block with their strings. */
typedef struct ssphp_pairs {
  ssphp_pair *first; /* NULL: not asked for yet */
  uint32_t count;
} ssphp_pairs;

typedef struct ssphp_page {
  uint64_t seat; /* the host's object that it is; 0: only its own fiber has come here */
  int worker;  /* a worker script has it */
  int idle;    /* no request: a worker that boots, or is between two of them */
  int ended;   /* the response has: fastcgi_finish_request(), or all is over */
  int gone;    /* the client */
  ssphp_text cookies, root;
  void *block; /* where they and those of sapi_request_info are */
  ssphp_pairs variables, headers;
  size_t used;
  char buffer[SSPHP_PAGE_BUFFER];
} ssphp_page;

/* The page of this request, or NULL. [fiber, or PHP's thread; no; no] */
static inline ssphp_page *ssphp_page_here(void) {
  ssphp *home = ssphp_here();
  return home && home->loaded ? home->loaded->page : NULL;
}

/*
 * Before php_request_startup(): asks the host whether this call is a page's or a worker's, and tells PHP what the request
 * says. [fiber; no; no]
 */
void ssphp_page_open(void);

/* After php_request_shutdown(). [fiber; no; no] */
void ssphp_page_close(void);

/*
 * Takes the next request for a worker's page, unless it wants to `leave` and has answered one. 1: there is one, and PHP is told of it; 0: the worker is to end; -1: the call is
 * being cancelled; -2: this is no worker. [fiber; may suspend; no]
 */
int ssphp_page_next(ssphp_page *page, int leave);

/*
 * What $_SERVER has of the request, and its headers as sent. Many scripts look at neither, so that they cross at the first use; of
 * a page that is idle, or that cannot be asked for them, there are none. [fiber; no; no]
 */
const ssphp_pairs *ssphp_page_variables(ssphp_page *page);
const ssphp_pairs *ssphp_page_headers(ssphp_page *page);

/* Before other fibers than the page's own can come to it, such as that of a closure that the host calls: they write its response and
   read its request too, unless this fails because the page's call is being cancelled. [fiber; no; no] */
void ssphp_page_share(ssphp_page *page);

/* Forgets the request, not the place. [fiber; no; no] */
void ssphp_page_forget(ssphp_page *page);

/*
 * Writes. What does not fit into the buffer crosses. 0: the client is gone, or the call is being cancelled.
 * [fiber; may suspend; no]
 */
int ssphp_page_write(ssphp_page *page, const char *bytes, size_t length);

/* Has the host send what there is, also if it is only the head. As ssphp_page_write(). [fiber; may suspend; no] */
int ssphp_page_flush(ssphp_page *page);

/* Status and headers. [fiber; no; no] */
void ssphp_page_head(ssphp_page *page, sapi_headers_struct *headers);

/* Ends the response, now or, if this is the `last` thing that its call does, when the host has the call's outcome.
   [fiber; may suspend; no] */
void ssphp_page_finish(ssphp_page *page, int last);

/* Reads the request's body: as many bytes as there are, up to `length`. [fiber; may suspend; no] */
size_t ssphp_page_read(ssphp_page *page, char *buffer, size_t length);

/* A line of PHP's log, with its severity as in syslog.h. 0: the host does not take it. [fiber; no; no] */
int ssphp_log(int level, const char *message);

/* What scripts get besides PHP's own functions: functions.c. */
extern const zend_function_entry ssphp_page_functions[];

#endif
