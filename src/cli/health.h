#ifndef ROWTAP_CLI_HEALTH_H
#define ROWTAP_CLI_HEALTH_H

#include "cli/options.h"
#include "cli/target.h"

/* rowtap health and rowtap status: what the server says about itself. */
struct health_options {
    struct target target;
    int format; /* 0 text, 1 json */
    int64_t timeout_ms;
};

extern const struct option_row health_option_rows[];
extern const char health_help[], health_status_help[];
/* The process's exit status: 0 when the server answers and calls itself healthy, otherwise 1. */
int health_run(const void *options, int argc, char **argv);
int health_run_status(const void *options, int argc, char **argv);

#endif
