#ifndef ROWTAP_CLI_BENCH_WRITER_H
#define ROWTAP_CLI_BENCH_WRITER_H

#include "base/buf.h"
#include "cli/target.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/*
 * A thread that inserts rows over its own kept connection until it is told to stop. Each row's k is
 * the writer's number and a count (bench_row_key); its `at` is the monotonic clock in nanoseconds,
 * taken before the request.
 */
struct bench_writer {
    struct target target;
    const char *table; /* already quoted for SQL */
    int number, rows;  /* rows of one request */
    atomic_bool *stop;
    pthread_t thread;
    /* After bench_writer_join: rows asked for, rows acknowledged, requests answered. */
    uint64_t sent, acknowledged, requests;
    struct buf err; /* why it stopped by itself; empty otherwise */
};

#define BENCH_KEY_SHIFT 40 /* k = number << 40 | count, count from 1 */

int bench_writer_start(struct bench_writer *w); /* the members above err are filled. STATUS_NOMEM */
void bench_writer_join(struct bench_writer *w); /* the caller frees err */

#endif
