#ifndef ROWTAP_CLI_BENCH_HTTP_H
#define ROWTAP_CLI_BENCH_HTTP_H

#include "base/buf.h"
#include "cli/bench_wire.h"
#include "cli/histogram.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * Kept connections that POST requests to run SQL, each one at a time (or, over WebSockets, several:
 * bench_socket.h), all on one thread: its own
 * or, when asked for, the one that calls bench_http_turn. With a rate, requests are due at fixed
 * times whatever has been answered (open loop): the next free connection makes them, and they count
 * from when they were due, so that what a slow answer holds up counts as late.
 */
struct bench_http;

struct bench_http_options {
    const struct bench_address *address;
    int count;     /* connections */
    int pipeline;  /* requests under way on each, over a WebSocket; 0: one, over HTTP */
    int64_t rate;  /* requests per second of all together; 0: the next when one is answered */
    int64_t most;  /* requests of a round; 0: until it is stopped */
    bool by_turns; /* no thread of its own */
    /* Writes a request's body; `from` is the time it counts from. On the thread. */
    void (*put)(void *ctx, int connection, int64_t from, struct buf *body);
    /* An answer with status 200. False stops all; *why says what is wrong. On the thread. */
    bool (*answered)(void *ctx, int connection, const char *body, size_t len, const char **why);
    void *ctx;
};

struct bench_http *bench_http_new(const struct bench_http_options *o, struct buf *err);
void bench_http_free(struct bench_http *h); /* after bench_http_stop; NULL is allowed */

/* Connects, and begins a round. STATUS_IO, STATUS_NOMEM: a sentence in err. */
int bench_http_start(struct bench_http *h, struct buf *err);
/*
 * With by_turns, from bench_http_start on until it says false, and not after: makes requests that
 * are due and takes answers that are there, without waiting for any. Not the thread that starts and
 * stops.
 */
bool bench_http_turn(struct bench_http *h);
/* It stopped by itself: all requests of the round are answered, or it failed. Any thread. */
bool bench_http_ended(const struct bench_http *h);
/*
 * Makes no more requests, waits until all are answered, and ends the round. STATUS_IO: something
 * was wrong, said in err. STATUS_CLOSED: ^C cut off requests, which may have been run or not.
 */
int bench_http_stop(struct bench_http *h, struct buf *err);

/* Of the last round, after bench_http_stop. */
uint64_t bench_http_requests(const struct bench_http *h); /* answered */
const struct histogram *bench_http_latency(const struct bench_http *h);

#endif
