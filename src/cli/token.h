#ifndef ROWTAP_CLI_TOKEN_H
#define ROWTAP_CLI_TOKEN_H

#include "cli/options.h"

/* rowtap token: makes a token for trying things out, with the secret that the server was given. */
struct token_options {
    const char *secret_file, *sub, *role, *issuer, *audience;
    struct option_list claims;
    int64_t ttl_ms; /* 0: the default */
};

extern const struct option_row token_option_rows[];
extern const char token_help[];

int token_run(const void *options, int argc, char **argv);

#endif
