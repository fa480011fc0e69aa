#ifndef ROWTAP_CLI_BENCH_H
#define ROWTAP_CLI_BENCH_H

#include "cli/options.h"
#include "cli/target.h"
#include <stdbool.h>

/* rowtap bench: writers and subscribers on a table of its own, and a check of what arrived. */
struct bench_options {
    struct target target;
    int64_t writers, subscribers, duration_ms, rows; /* 0: the default */
    const char *table;
    bool keep;
    int format; /* 0 text, 1 json */
};

extern const struct option_row bench_option_rows[];
extern const char bench_help[];
int bench_run(const void *options, int argc, char **argv); /* the process's exit status */

#endif
