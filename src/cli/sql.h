#ifndef ROWTAP_CLI_SQL_H
#define ROWTAP_CLI_SQL_H

#include "cli/options.h"
#include "cli/target.h"
#include <stdbool.h>

/* rowtap sql: one statement of the command line, a script from standard input, or a prompt. */
struct sql_options {
    struct target target;
    int format; /* enum query_format */
    int64_t timeout_ms;
    bool pieces, wait;
};

extern const struct option_row sql_option_rows[];
extern const char sql_help[];
int sql_run(const void *options, int argc, char **argv); /* the process's exit status */

#endif
