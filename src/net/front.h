#ifndef ROWTAP_NET_FRONT_H
#define ROWTAP_NET_FRONT_H

#include "base/buf.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * TLS in front of an HTTP server that knows nothing of it (civetweb's own TLS does not work with
 * OpenSSL 3). The front listens, does the handshakes, and when the first bytes have come connects
 * to the server's port on the loopback interface and passes bytes on, both ways.
 * The server knows the client by the port that the front connects from; front_peer tells who that
 * is. What is to become a WebSocket or a stream is taken out again, with its TLS.
 *
 * A client that does not get on with its handshake, or says nothing then, holds nothing but a
 * descriptor and a few kilobytes here, for a bounded time, and there is a bound on how many do.
 */
struct front;
struct tls;
struct tls_context;

#define FRONT_WAITING 1024 /* in a handshake, or silent since: past it the oldest is given up */
#define FRONT_MAX 4096     /* in all: past it no more are taken */

struct front_options {
    struct sockaddr_storage *addresses; /* to listen on; a port of 0 is filled in */
    int count;
    int threads;        /* 0: one per core, at most 4 */
    int low_fd;         /* descriptors of connections are not below it, where the limit allows */
    int64_t timeout_ms; /* for the handshake, and again for the first byte */
};

/*
 * Opens the addresses; takes a reference to the context. NULL: what the system said is added to
 * err. Nothing is accepted before front_start, which tells the server's port on 127.0.0.1:
 * STATUS_NOMEM, STATUS_IO, and then front_stop is what is left to do.
 */
struct front *front_new(
    const struct front_options *options, struct tls_context *context, struct buf *err);
int front_start(struct front *f, int server_port);
/* For connections that come from now on; takes a reference. Any thread. */
void front_set_context(struct front *f, struct tls_context *context);
void front_stop_accepting(struct front *f); /* refuses connections; any thread */
/* Answers that the server has sent still go out, for at most grace_ms. Then frees. NULL: nothing.
 */
void front_stop(struct front *f, int64_t grace_ms);

struct front_peer {
    uint64_t id; /* of the connection, never 0 */
    char address[INET6_ADDRSTRLEN];
    int port;
    char version[16]; /* "TLSv1.3" */
};
/* Who is behind a connection to the server's port. False: not one of the front's. Any thread. */
bool front_peer(struct front *f, int port, struct front_peer *peer);

/*
 * Takes a connection out: its socket, non-blocking, and its TLS are the caller's from then on, and
 * the server's end, server_fd, is at its end. `bytes` is how much the server has had of it and is
 * done with. Waits for the front; not on its threads. STATUS_INVALID: the client has sent more, and
 * more_allowed is false (otherwise that is thrown away). STATUS_CLOSED: it has gone.
 */
struct front_taking {
    uint64_t id;
    int port;
    int server_fd;
    uint64_t bytes;
    bool more_allowed;
    int fd; /* the results */
    struct tls *tls;
};
int front_take(struct front *f, struct front_taking *t);

struct front_stats {
    uint64_t connections; /* that are still in HTTP, or before it */
    uint64_t handshakes;  /* that were completed … */
    uint64_t resumed;     /* … of these with a ticket */
    uint64_t failed;      /* by what either side said, or because the client went away */
    uint64_t late;        /* or had no time left, for the first byte too */
    uint64_t dropped;     /* given up because there were too many */
};
void front_stats(struct front *f, struct front_stats *out); /* any thread */

#endif
