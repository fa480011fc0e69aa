#ifndef ROWTAP_CLI_BENCH_PAST_H
#define ROWTAP_CLI_BENCH_PAST_H

#include "base/buf.h"
#include "cli/client.h"
#include "cli/target.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * Subscribers that start at the same time and read what is past: the changes of a table from the
 * earliest that is kept, or a snapshot of it. Each checks that rows come once and in order. All on
 * the caller's thread.
 */
struct bench_past {
    struct target target;
    const char *table, *quoted; /* the table's name; for SQL */
    bool snapshot;
    int64_t wanted; /* rows the table is filled up to */
    int64_t subscribers;
    int rows, payload; /* rows of one commit while it is filled, bytes of text in a row */
    /* The result, filled by bench_past_read. */
    int64_t least, most;  /* rows that a subscriber got */
    uint64_t received;    /* by all of them */
    double first_seconds; /* from the subscribe to the first row, the longest */
    double seconds;       /* until the last subscriber had all */
    double slowest;       /* rows per second of the slowest subscriber */
    double fastest;       /* and of the fastest */
    double cpu_seconds;   /* of this thread: where it comes near `seconds`, it was the bound */
};

/* Inserts rows until the table, which is there, has as many as wanted. */
int bench_past_fill(struct bench_past *p, struct client *client, struct buf *err);

/*
 * Connects all, then measures. STATUS_INVALID: the server refused, or rows were missing, came twice
 * or out of order; STATUS_IO; STATUS_CLOSED after ^C. What was wrong is in err.
 */
int bench_past_read(struct bench_past *p, struct client *client, struct buf *err);

#endif
