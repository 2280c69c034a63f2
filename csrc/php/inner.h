/* What the shim's files share: PHP's headers, and what an interpreter and a context are. */
#ifndef SIDESTACK_PHP_INNER_H
#define SIDESTACK_PHP_INNER_H

#include "openssl.h"
#include "ssphp.h"
#include "xml.h"

#include "php.h"
#include "SAPI.h"
#include "zend_exceptions.h"
#include "zend_fibers.h"

TSRMLS_MAIN_CACHE_EXTERN()

/* PHP's thread-local words that belong to a request, beside what TSRM keeps; see swap.c. */
typedef struct ssphp_words {
  zend_string *spl_autoload_extensions;
  HashTable *spl_autoload_functions;
  void *pcre_compile, *pcre_match, *pcre_data;
  bool pcre_data_used;
  HashTable pcre_tables;
  uint32_t fiber_switch_blocking;
  ssphp_xml xml; /* libxml2's */
  ssphp_openssl openssl;
} ssphp_words;

/* An exception that was told to the host, in case it comes back. */
typedef struct ssphp_told {
  zend_object *exception;
  zend_string *message, *trace;
} ssphp_told;

enum { SSPHP_TOLD = 8 };

/* PHP's tables whose pages contexts share. */
enum { SSPHP_TABLES = 2 };

/* All that PHP calls a thread. One request at a time has it; idle ones wait in their interpreter's pool. */
struct ssphp_context {
  ssphp *home;
  void *tsrm;
  const void *heap;    /* where it begins */
  zend_ulong id;       /* what TSRM takes for its thread */
  ssphp_words words;   /* while another context is loaded */
  ssphp_run *occupant; /* the run whose words the executor has; NULL: nobody's */
  uint32_t fibers;     /* that run in it now */
  uint32_t slots;      /* of the reference table that are its */
  uint32_t references; /* those of them that the host holds */
  int open;            /* a request was started, and not ended */
  int naming;          /* a fiber of it is in gethostbyname() */
  int uses_opcache;    /* what is in opcache's memory has to stay there */
  int left_out;        /* its request began while opcache waited to be emptied */
  uint64_t expires;    /* when its time is over, as in ss_thread.deadline */
  ssphp_told told[SSPHP_TOLD]; /* the last ones */
  uint32_t ntold;      /* how many there ever were */
  void *pages[SSPHP_TABLES]; /* those of its tables that it shares, and whether it does; see common.c */
  bool shares;
  size_t memory;       /* bytes on its heap, when its last fiber gave up the thread */
  uint64_t largest;    /* the fiber that the request began with */
  struct ssphp_page *page; /* of the request, if it is a page's */
  struct ssphp_page *last_page; /* its memory, kept */
  ssphp_context *next; /* among all of the interpreter's */
  ssphp_context *older, *newer; /* among the idle ones */
};

/* A value that the host refers to. */
typedef struct ssphp_slot {
  ssphp_context *context; /* NULL: the slot is free */
  uint32_t next_free;
  uint32_t generation;    /* counts its uses */
  bool claimed;           /* the host has it */
  zval value;
} ssphp_slot;

/* A script as it was loaded. */
typedef struct ssphp_script {
  char *name, *folder, *source;
  size_t name_len, folder_len, source_len;
} ssphp_script;

struct ssphp {
  const ss_host_desc *host;
  struct ssphp_functions *functions; /* the host's, as PHP sees them */
  struct ssphp_common *common;       /* what contexts share */
  ssphp_context *contexts;           /* all */
  ssphp_context *idle, *oldest;      /* the idle one that was used last, and the one that was used first */
  uint32_t nidle;
  uint32_t requests, spare;          /* in this period: how many, and the fewest idle contexts */
  uint32_t surplus;                  /* idle contexts to free */
  ssphp_context *loaded; /* whose words the thread has */
  ssphp_run *run;        /* the fiber that runs, or ran last */
  ssphp_slot *slots;
  uint32_t nslots, slots_cap, free_slot;
  HashTable *folders; /* NULL: none is known; see folders.c */
  ssphp_script *scripts;
  uint32_t nscripts;
  size_t memory, used;
  int over;
  int shares; /* what opcache has compiled */
};

/* Of a fiber's stack, what PHP's checks leave to what they do not see: its C functions, the shim, signal handlers. */
#define SSPHP_STACK_RESERVE (48 * 1024)

/* The interpreter of this thread. [fiber; no; no] */
static inline ssphp *ssphp_here(void) { return ss_thread_state.guest; }

/* The context that is loaded. [fiber; no; no] */
static inline ssphp_context *ssphp_current(void) { return ssphp_here()->loaded; }

#endif
