#ifndef ROWTAP_CLI_BENCH_WRITER_H
#define ROWTAP_CLI_BENCH_WRITER_H

#include "base/buf.h"
#include "cli/histogram.h"
#include "cli/target.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/*
 * A thread that inserts rows over its own kept connection until it is told to stop. Each row's k is
 * the writer's number and a count (BENCH_KEY_SHIFT); its `at` is the monotonic clock in
 * nanoseconds, taken before the request. With an interval that is the time at which the request was
 * due, so that what a slow answer holds up counts as late.
 */
struct bench_writer {
    struct target target;
    const char *table; /* already quoted for SQL */
    int number, rows;  /* rows of one request */
    int payload;       /* bytes of text in a row */
    int64_t interval;  /* ns from one request to the next; 0: the next when one is answered */
    int64_t due;       /* with an interval: of the first request, by clock_mono_ns */
    atomic_bool *stop;
    pthread_t thread;
    /* After bench_writer_join: rows asked for, rows acknowledged, requests answered. */
    uint64_t sent, acknowledged, requests;
    struct histogram answers; /* from a request (with an interval: from when due) to its answer */
    struct buf err;           /* why it stopped by itself; empty otherwise */
};

#define BENCH_KEY_SHIFT 40 /* k = number << 40 | count, count from 1 */
#define BENCH_PAYLOAD 43   /* bytes, where nothing else is asked for */
#define BENCH_PAYLOAD_MAX 65536

void bench_put_payload(struct buf *out, int len); /* text that JSON and SQL need not escape */
int bench_writer_start(struct bench_writer *w); /* the members above err are filled. STATUS_NOMEM */
void bench_writer_join(struct bench_writer *w); /* the caller frees err */

#endif
