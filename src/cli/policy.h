#ifndef ROWTAP_CLI_POLICY_H
#define ROWTAP_CLI_POLICY_H

#include "cli/options.h"

/* `rowtap policy check`: what a policy file says, in sentences, and whether it fits a database. */
struct policy_options {
    const char *role;
};

extern const struct option_row policy_option_rows[];
extern const char policy_help[];

int policy_run(const void *options, int argc, char **argv);

#endif
