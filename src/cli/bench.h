#ifndef ROWTAP_CLI_BENCH_H
#define ROWTAP_CLI_BENCH_H

#include "cli/options.h"
#include "cli/target.h"
#include <stdbool.h>

/*
 * rowtap bench: tests of a running server with a table of their own, each of which checks what
 * arrived. The table of tests is in bench.c.
 */
struct bench_speech;

struct bench_options {
    struct target target;
    int64_t writers, readers, subscribers, duration_ms, rows, payload; /* 0: the test's default */
    int64_t rate;             /* requests per second of all writers; 0: as many as are answered */
    int64_t pipeline;         /* requests of each writer under way, over WebSockets; 0: over HTTP */
    int64_t requests;         /* of a measurement; 0: as many as its time allows */
    int filter;               /* enum bench_filter */
    int64_t subscriptions;    /* of all subscribers; 0: one each */
    int64_t matching;         /* of the subscriptions; 0: all */
    int64_t resume, snapshot; /* rows to read from the past; 0: measure what is live */
    bool writes_only;
    const char *table;
    bool keep, steps, spin;
    const char *compare;               /* a file of earlier results */
    int format;                        /* 0 text, 1 json */
    const struct bench_speech *speech; /* NULL: rowtap's */
};

extern const struct option_row bench_option_rows[];
extern const char bench_help[];
int bench_run(const void *options, int argc, char **argv); /* the process's exit status */

#endif
