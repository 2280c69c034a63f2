/* What OpenSSL keeps by thread: the queue of its errors. */
#ifndef SIDESTACK_PHP_OPENSSL_H
#define SIDESTACK_PHP_OPENSSL_H

/* A request's errors that nobody has asked for yet. */
typedef struct ssphp_openssl {
  unsigned long *errors; /* 0 ends them; NULL: there are none */
} ssphp_openssl;

/* Takes the thread's errors away: another request's are to come. [interpreter thread; no; no] */
void ssphp_openssl_save(ssphp_openssl *openssl);

/* Puts them back. [interpreter thread; no; no] */
void ssphp_openssl_load(ssphp_openssl *openssl);

/* The request has ended: the next one in its context begins with none, neither of OpenSSL's nor of PHP's. [fiber; no; may raise: memory] */
void ssphp_openssl_forget(void);

#endif
