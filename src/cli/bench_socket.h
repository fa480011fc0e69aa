#ifndef ROWTAP_CLI_BENCH_SOCKET_H
#define ROWTAP_CLI_BENCH_SOCKET_H

#include "base/buf.h"
#include "cli/bench_wire.h"
#include "cli/handshake.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * Requests to run SQL over a WebSocket, many of which may be under way, without I/O: what is to be
 * sent, and what came. One thread.
 */
struct bench_socket {
    const struct bench_address *address;
    struct handshake handshake; /* until `shaken` */
    bool shaken, open;
    uint64_t sent, answered; /* requests; their requestId counts from 1 */
    struct buf message;
};

struct bench_socket_ops {
    void (*opened)(void *ctx); /* requests may be sent */
    /* `good`: the oldest request was answered; else one was refused, and the text says why. */
    void (*answered)(void *ctx, bool good, const char *text, size_t len);
};

/* Writes the opening handshake. bench_socket_fini in any case. STATUS_NOMEM. */
int bench_socket_begin(
    struct bench_socket *s, const struct bench_address *address, struct buf *out);
void bench_socket_fini(struct bench_socket *s); /* zeroed then; may be repeated */
/* Writes a request whose payload has the members of this JSON object. */
void bench_socket_put(struct bench_socket *s, const char *object, size_t len, struct buf *out);
/*
 * Takes from `in` what is whole; answers to pings are written to `out`. NULL, or a sentence about
 * what is wrong.
 */
const char *bench_socket_take(struct bench_socket *s, struct buf *in, struct buf *out,
    const struct bench_socket_ops *ops, void *ctx);

#endif
