#ifndef ROWTAP_CLI_BENCH_WRITER_H
#define ROWTAP_CLI_BENCH_WRITER_H

#include "cli/bench_http.h"
#include "cli/bench_spread.h"
#include <stdint.h>

/*
 * Writers that insert rows, each over its own connection (bench_http.h). Each row's k is the
 * writer's number and a count (BENCH_KEY_SHIFT), which goes on from round to round; its `at` is the
 * monotonic clock in nanoseconds, from which the request counts; its v, with a filter, as
 * bench_spread.h says.
 */
struct bench_writer {
    const char *table; /* already quoted for SQL */
    int count, rows;   /* writers; rows of one request */
    int payload;       /* bytes of text in a row */
    int64_t rate;      /* requests per second of all; 0: as many as are answered */
    int64_t most;      /* requests of a round; 0: until it is stopped */
    bool by_turns;     /* as for bench_http */
    int pipeline;      /* likewise */
    const struct bench_address *address;
    struct bench_spread spread;
    /* Filled by bench_writer_init. */
    struct bench_http *http;
    uint64_t *sent, *acknowledged; /* rows by writer, since the beginning */
    struct buf sql;                /* the beginning of a request's body */
    struct buf common;             /* what its rows have in common */
};

#define BENCH_KEY_SHIFT 40 /* k = number << 40 | count, count from 1 */
#define BENCH_PAYLOAD 43   /* bytes, where nothing else is asked for */
#define BENCH_PAYLOAD_MAX 65536
#define BENCH_ROWS_MAX 5000

void bench_put_payload(struct buf *out, int len); /* text that JSON and SQL need not escape */
/* The members above http are filled. A zeroed one may be given to _fini. */
int bench_writer_init(struct bench_writer *w, struct buf *err);
void bench_writer_fini(struct bench_writer *w);
uint64_t bench_writer_rows(const struct bench_writer *w); /* acknowledged, between rounds */
/* Rows were asked for that nobody has acknowledged. */
bool bench_writer_uncertain(const struct bench_writer *w);

#endif
