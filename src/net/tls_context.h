#ifndef ROWTAP_NET_TLS_CONTEXT_H
#define ROWTAP_NET_TLS_CONTEXT_H

#include "net/tls.h"

/* Between tls.c and tls_context.c. */
struct ssl_ctx_st;
struct ssl_ctx_st *tls_context_ssl(const struct tls_context *x);

#endif
