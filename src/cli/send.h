#ifndef ROWTAP_CLI_SEND_H
#define ROWTAP_CLI_SEND_H

#include "cli/options.h"
#include "cli/target.h"

/* rowtap send: a message to all who hear a channel. */
struct send_options {
    struct target target;
    int64_t timeout_ms;
};

extern const struct option_row send_option_rows[];
extern const char send_help[];
/* The process's exit status. */
int send_run(const void *options, int argc, char **argv);

#endif
