#ifndef ROWTAP_CLI_BENCH_READER_H
#define ROWTAP_CLI_BENCH_READER_H

#include "base/buf.h"
#include "cli/bench_spread.h"
#include "cli/bench_wire.h"
#include "cli/histogram.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * Many subscribers to one table, all served by one thread, which checks that each gets its share of
 * the writers' rows (bench_writer.h) once and in order, and measures how long they took. Messages
 * are not parsed: numbers are looked for where the message before had them.
 */
struct bench_reader;

/* What is said on the WebSockets, so that other servers can be measured the same way. */
struct bench_speech {
    const char *path;
    const char *greeting;        /* in the server's first message */
    const char *hello, *welcome; /* what is said then, and is in the answer to it; NULL: nothing */
    const char *before, *after;  /* of each message sent */
    const char *ping, *pong;     /* a message from the server that wants an answer; NULL: none */
};
extern const struct bench_speech bench_speech_native;

struct bench_reader_options {
    const struct bench_address *address;
    const struct bench_speech *speech;
    const char *table;
    int writers;
    struct bench_spread spread; /* settled */
};

/* Then bench_reader_connect, then bench_reader_subscribe. NULL: a sentence in err. */
struct bench_reader *bench_reader_new(const struct bench_reader_options *o, struct buf *err);
/* Connects all, 64 at a time, until each has been greeted. A sentence in err. */
int bench_reader_connect(struct bench_reader *r, struct buf *err);
/* Makes all subscriptions, until each has been confirmed. A sentence in err. */
int bench_reader_subscribe(struct bench_reader *r, struct buf *err);

int bench_reader_start(struct bench_reader *r); /* starts the thread. STATUS_NOMEM */
/*
 * Instead of start and stop, for a thread of the caller's own: begins a round, and then takes what
 * is there, without waiting for any, as often as it is called.
 */
void bench_reader_begin(struct bench_reader *r);
void bench_reader_turn(struct bench_reader *r);
uint64_t bench_reader_received(const struct bench_reader *r); /* deliveries so far; any thread */
bool bench_reader_failed(const struct bench_reader *r);       /* something was wrong; any thread */
void bench_reader_stop(struct bench_reader *r);               /* ends the thread; may be repeated */
void bench_reader_free(struct bench_reader *r);

/* Between bench_reader_stop and the next start. */
const struct histogram *bench_reader_latency(const struct bench_reader *r); /* of the last round */
/* Deliveries that are due in all when the writers have written so many rows each. */
uint64_t bench_reader_due(const struct bench_reader *r, const uint64_t *acknowledged);
/* Every subscriber got all of its share. Says in err what is wrong when not. */
bool bench_reader_check(
    const struct bench_reader *r, const uint64_t *acknowledged, struct buf *err);

#endif
