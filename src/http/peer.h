#ifndef ROWTAP_HTTP_PEER_H
#define ROWTAP_HTTP_PEER_H

#include <stdint.h>

/*
 * civetweb does not tell a connection's descriptor, only its addresses; these find it among the
 * process's descriptors. Any thread. The caller must know that the connection stays open meanwhile.
 */
struct peer {
    char address[48]; /* as civetweb writes it: "127.0.0.1", "::1" */
    int port;         /* 0: not known */
    int server_port;
};

/* The connected socket, or -1: none, or more than one with the same addresses. */
int peer_find(const struct peer *p);
/* The first descriptor that listens on this local port, or -1. */
int peer_find_listener(int port);

/*
 * The connections to a local port that are still in HTTP: calls back with the descriptor, below
 * PEER_LOW, and the peer's port.
 */
#define PEER_LOW 512
/*
 * Below this number are files, listeners and connections still in HTTP, which the workers and
 * civetweb's queue bound; above it the upgraded ones, and what the front for TLS has.
 */
int peer_low(void);
void peer_each(int server_port, void (*each)(int fd, int port, void *ctx), void *ctx);
/* The peer's port if `fd` is such a connection, or 0. */
int peer_port(int fd, int server_port);

/*
 * Takes the connection out of civetweb: returns a new descriptor for it, above the low numbers (so
 * that peer_find stays short) where the limit allows, and puts a dead socket at `fd`: civetweb
 * reads end-of-file there and closes only that. -1 with errno; nothing was changed then. Timeouts
 * and lingering are as in a fresh non-blocking socket.
 */
int peer_detach(int fd);
/* Bytes that were ever taken out of this TCP connection, or -1 when the kernel does not tell. */
int64_t peer_bytes_read(int fd);

#endif
