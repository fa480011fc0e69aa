#ifndef ROWTAP_NET_TLS_H
#define ROWTAP_NET_TLS_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/*
 * The server's side of TLS 1.2 and 1.3 on a non-blocking socket. Only tls.c and tls_context.c see
 * OpenSSL. Neither renegotiation nor compression nor early data; HTTP/1.1 is all that ALPN finds.
 */
struct tls_context; /* a certificate and its key: immutable, counted by references, any thread */

/*
 * Reads both files, which are in PEM; behind the certificate may follow those that vouch for it.
 * NULL and a sentence for the user, which names the file, on failure. *warning, appended to, says
 * what will be in the way of clients though it works: a certificate that has expired.
 */
struct tls_context *tls_context_new(
    const char *cert_file, const char *key_file, struct buf *err, struct buf *warning);
void tls_context_ref(struct tls_context *x);
void tls_context_unref(struct tls_context *x); /* NULL is allowed */

/* One connection. One thread at a time. */
struct tls;

/* For a connection that was accepted; fd stays the caller's. NULL: no memory. */
struct tls *tls_new(struct tls_context *x, int fd);
/* Tells the peer that nothing follows, if that can be said at once. NULL is allowed. */
void tls_free(struct tls *t);

/*
 * The handshake: 1 when it is complete, 0 when it waits for the socket. STATUS_INVALID when it
 * failed, and tls_problem says why; STATUS_CLOSED when the peer went away.
 */
int tls_handshake(struct tls *t);
const char *tls_problem(const struct tls *t);
bool tls_was_http(const struct tls *t); /* it failed because the peer speaks HTTP without TLS */
bool tls_resumed(const struct tls *t);
const char *tls_version(const struct tls *t); /* "TLSv1.3" */

/*
 * As recv does without waiting: bytes, 0 at the end of the stream, or -1 and errno. `size` is
 * TLS_RECORD at least, and no decrypted byte stays behind, so that to wait for the socket is right
 * after -1 with EAGAIN, and after less than that when tls_more is false.
 */
#define TLS_RECORD 16384
ssize_t tls_recv(struct tls *t, void *buf, size_t size);
bool tls_more(const struct tls *t);  /* the last tls_recv did not have to wait for the socket */
bool tls_ended(const struct tls *t); /* … and the next one returns 0 or a lasting error */

/* Where records are put together, for all connections of one thread. */
struct tls_room;
struct tls_room *tls_room_new(void); /* NULL: no memory */
void tls_room_free(struct tls_room *r);

/*
 * Takes at most TLS_ROUND of the bytes and returns how many, which count as sent: what the socket
 * does not take of them (and of what the protocol itself has to say) is kept encrypted, and as long
 * as there is some, nothing is taken. -1 and errno: the connection is broken.
 */
#define TLS_ROUND (2 * TLS_RECORD)
ssize_t tls_send(struct tls *t, const struct iovec *iov, int count, struct tls_room *room);
size_t tls_unsent(const struct tls *t); /* bytes are kept: wait until the socket is writable … */
int tls_flush(struct tls *t);   /* … and call this. -1 and errno: the connection is broken */
void tls_finish(struct tls *t); /* nothing follows: tells the peer, once */

#endif
