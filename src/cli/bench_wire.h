#ifndef ROWTAP_CLI_BENCH_WIRE_H
#define ROWTAP_CLI_BENCH_WIRE_H

#include "base/buf.h"
#include "cli/target.h"
#include <stdbool.h>
#include <sys/types.h>

/*
 * The load generator's connections: sockets that do not block, each with what is still to be
 * written. With https libcurl connects and encrypts, and only the connecting waits.
 */
struct bench_address;

/*
 * Where the server is. The host is looked up once, and it is tried which of its addresses answers.
 * The target's strings must stay. NULL: a sentence for the user in err.
 */
struct bench_address *bench_address_new(const struct target *target, struct buf *err);
void bench_address_free(struct bench_address *a);
const char *bench_address_base(const struct bench_address *a);  /* http(s)://HOST:PORT/PREFIX */
const char *bench_address_token(const struct bench_address *a); /* NULL: none */

struct bench_wire {
    int fd, epoll;
    void *tls, *owner;
    struct buf out; /* not yet written from `sent` on */
    size_t sent;
    bool waits; /* to write on */
};

/*
 * Begins to connect, and has epoll tell of `owner`. A zeroed wire may be closed. STATUS_IO: a
 * sentence in err.
 */
int bench_wire_open(
    struct bench_wire *w, const struct bench_address *a, int epoll, void *owner, struct buf *err);
void bench_wire_close(struct bench_wire *w); /* may be opened again */

/* Written now or, as far as the socket does not take it, by bench_wire_flush. STATUS_CLOSED,
 * STATUS_NOMEM. */
int bench_wire_send(struct bench_wire *w, const void *p, size_t len);
int bench_wire_flush(struct bench_wire *w); /* when epoll tells of the owner */
/* Bytes read; 0: none now; STATUS_CLOSED. */
ssize_t bench_wire_read(struct bench_wire *w, void *to, size_t len);

#endif
