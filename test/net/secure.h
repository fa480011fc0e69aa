#ifndef ROWTAP_TEST_NET_SECURE_H
#define ROWTAP_TEST_NET_SECURE_H

#include "net/tls.h"
#include <openssl/ssl.h>

/*
 * With ROWTAP_TEST_TLS=1 the peers of peer.h speak TLS, so that the tests of connections are tests
 * of those with TLS as well. The certificate is made here.
 */
bool secure_wanted(void);
struct tls_context *secure_context(void); /* one for all; its files are gone again */

/*
 * Both ends of a connection after the handshake, on the sockets of a pair; the client's one is
 * non-blocking afterwards. version 0: any. *tls is NULL when memory ran out.
 */
SSL *secure_pair(const int fds[2], int version, struct tls **tls);

#endif
