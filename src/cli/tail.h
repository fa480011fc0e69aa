#ifndef ROWTAP_CLI_TAIL_H
#define ROWTAP_CLI_TAIL_H

#include "cli/options.h"
#include <stdbool.h>

/* rowtap tail: prints the commits of a database file, without a server, until ^C. */
struct tail_verb_options {
    struct option_list filters;
    const char *events;
    bool checkpoint;
    int format; /* 0 pretty, 1 json */
};

extern const struct option_row tail_verb_option_rows[];
extern const char tail_verb_help[];
int tail_verb_run(const void *options, int argc, char **argv); /* the process's exit status */

#endif
