#ifndef ROWTAP_CLI_BENCH_RUN_H
#define ROWTAP_CLI_BENCH_RUN_H

#include "base/buf.h"
#include "cli/bench.h"
#include "cli/bench_reader.h"
#include "cli/bench_result.h"
#include "cli/bench_wire.h"
#include "cli/client.h"
#include <stdbool.h>

/* What the tests of `rowtap bench` have in common: the server, the table, rounds and results. */
struct bench_run {
    struct bench_options o; /* with the test's defaults */
    const char *test;
    struct client *client; /* for what is not measured */
    struct bench_address *address;
    struct buf quoted; /* the table's name for SQL */
    json_t *earlier;   /* results to compare with; NULL: none */
    int rounds;        /* done, since bench_run_open */
    bool bad;          /* a result was not as it should be */
    struct buf err;
};

/* Creates the table, which must not be there unless `reuse`. A sentence in err. */
int bench_run_open(struct bench_run *b, const char *columns, bool reuse);
/* Drops it, unless the user keeps it. `status` is what came before; returned unless this fails. */
int bench_run_close(struct bench_run *b, int status);
int bench_run_sql(struct bench_run *b, const char *sql);

/*
 * Whether there is another round: one, or with --steps one for each line of standard input, while
 * the reader (may be NULL) goes on to read.
 */
bool bench_run_round(struct bench_run *b, struct bench_reader *reader);
int bench_run_print(struct bench_run *b, const struct bench_result *r);

/* Of the server's process, by its /metrics; false when there are none. */
struct bench_cost {
    double cpu_seconds, bytes; /* processor time, resident memory */
};
bool bench_run_cost(struct bench_run *b, struct bench_cost *cost);
double bench_run_cpu_seconds(void); /* of the load generator */

/* The tests. A sentence in err after any failure. */
int bench_live_run(struct bench_run *b);    /* writers, and subscribers if there are any */
int bench_live_writes(struct bench_run *b); /* from 1 to 64 writers, single rows and batches */
int bench_connect_run(struct bench_run *b);
int bench_reads_run(struct bench_run *b);
int bench_past_run(struct bench_run *b);

#endif
