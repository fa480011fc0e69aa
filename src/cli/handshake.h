#ifndef ROWTAP_CLI_HANDSHAKE_H
#define ROWTAP_CLI_HANDSHAKE_H

#include "base/buf.h"
#include "net/ws.h"
#include <stdbool.h>
#include <stddef.h>

/* A client's opening handshake (RFC 6455 section 4.1), without I/O. */
struct handshake {
    char accept[WS_ACCEPT_LEN + 1]; /* the answer that our key wants */
    struct buf head;                /* the answer's status line and headers */
    struct buf rest;                /* what came behind: frames, or the body of a refusal */
    int status;                     /* HTTP's, 0 before the head is complete */
    size_t body;                    /* bytes of a refusal's body; SIZE_MAX: until the end */
};

void handshake_init(struct handshake *h);
void handshake_fini(struct handshake *h);

/* Writes the request for `path` under the address `base`; token may be NULL. STATUS_NOMEM. */
int handshake_put_request(
    struct handshake *h, const char *base, const char *path, const char *token, struct buf *out);

/* Takes what arrived. STATUS_INVALID: this is not HTTP, or too long for an answer. STATUS_NOMEM. */
int handshake_feed(struct handshake *h, const char *p, size_t len);
int handshake_end(
    struct handshake *h); /* the connection ended: 0, or STATUS_CLOSED before the head */
bool handshake_done(const struct handshake *h);

/*
 * After handshake_done: 0 when the server agreed. STATUS_FORBIDDEN and a sentence for the user when
 * not; *again tells whether a later try may succeed.
 */
int handshake_check(struct handshake *h, const char *base, bool *again, struct buf *err);

#endif
