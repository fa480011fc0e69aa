#ifndef ROWTAP_CLI_WATCH_H
#define ROWTAP_CLI_WATCH_H

#include "cli/options.h"
#include "cli/target.h"
#include <stdbool.h>

/* rowtap watch: prints changes as they are committed, until ^C. */
struct watch_options {
    struct target target;
    struct option_list filters;
    const char *events;
    const char *columns;
    const char *since;
    bool snapshot;
    int format; /* 0 pretty, 1 json */
};

extern const struct option_row watch_option_rows[];
extern const char watch_help[];
int watch_run(const void *options, int argc, char **argv); /* the process's exit status */

#endif
