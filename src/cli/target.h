#ifndef ROWTAP_CLI_TARGET_H
#define ROWTAP_CLI_TARGET_H

#include "base/buf.h"
#include <stdbool.h>

/*
 * Which server a verb talks to, and as whom. Every verb's options begin with one; the strings
 * belong to the command line or the environment.
 */
struct target {
    const char *url;    /* NULL: $ROWTAP_URL, then http://127.0.0.1:8080 */
    const char *token;  /* NULL: $ROWTAP_TOKEN, then none */
    const char *cacert; /* NULL: $ROWTAP_CACERT, then the system's */
    bool insecure;      /* any certificate will do */
};

/* The rows of an option table for a target at the structure's start. */
#define TARGET_OPTIONS                                                                             \
    {"url", "URL", "the server; default $ROWTAP_URL, then http://127.0.0.1:8080", OPTION_TEXT,     \
        offsetof(struct target, url)},                                                             \
        {"cacert", "FILE", "trust this CA's certificates, in PEM; default $ROWTAP_CACERT",         \
            OPTION_TEXT, offsetof(struct target, cacert)},                                         \
        {"insecure", NULL, "trust any certificate that the server shows", OPTION_FLAG,             \
            offsetof(struct target, insecure)},                                                    \
    {                                                                                              \
        "token", "TOKEN", "sent as Authorization: Bearer; default $ROWTAP_TOKEN", OPTION_TEXT,     \
            offsetof(struct target, token)                                                         \
    }

/*
 * Fills what is unset from the environment, and writes the server's base address, http(s)://…
 * without a slash at its end, to `base`. STATUS_INVALID and a sentence for the user when it is not
 * an address.
 */
int target_resolve(struct target *t, struct buf *base, struct buf *err);

/* The base address names this machine: no proxy of the environment may stand between. */
bool target_is_loopback(const char *base);

#endif
