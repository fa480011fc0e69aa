#ifndef ROWTAP_CLI_BENCH_H
#define ROWTAP_CLI_BENCH_H

#include "cli/options.h"
#include "cli/target.h"
#include <stdbool.h>

/*
 * rowtap bench: writers and subscribers on a table of its own, and a check of what arrived; or
 * subscribers that read what is past (bench_past.h).
 */
struct bench_options {
    struct target target;
    int64_t writers, subscribers, duration_ms, rows, payload; /* 0: the default */
    int64_t rate;             /* requests per second of all writers; 0: as many as are answered */
    int64_t resume, snapshot; /* rows to read from the past; 0: measure what is live */
    bool writes_only;
    const char *table;
    bool keep;
    int format; /* 0 text, 1 json */
};

extern const struct option_row bench_option_rows[];
extern const char bench_help[];
int bench_run(const void *options, int argc, char **argv); /* the process's exit status */

#endif
