#ifndef ROWTAP_ACCESS_RATES_H
#define ROWTAP_ACCESS_RATES_H

#include "access/bucket.h"
#include "base/buf.h"

/* How much of what one may do, and the options that say so. Constant once read; any thread. */
enum rate_kind {
    RATE_COMMANDS, /* messages that are none of the next three, and those that are malformed */
    RATE_QUERIES,  /* SQL, over the socket and over HTTP */
    RATE_BROADCASTS,
    RATE_CURSORS,    /* moves of a user's cursor */
    RATE_HTTP,       /* requests, whatever they ask for */
    RATE_HANDSHAKES, /* that begin a WebSocket, a stream or a long poll */
    RATE_KINDS,
    RATE_OF_CONNECTIONS = RATE_HTTP /* those before are counted for each connection */
};

/* Each kind is counted three times, and the strictest counts. */
enum rate_scope { RATE_CONNECTION, RATE_USER, RATE_ADDRESS, RATE_SCOPES };

struct tier {
    char *role; /* NULL: of everybody whose role has none */
    struct rate rates[RATE_SCOPES][RATE_KINDS];
};

#define RATES_ROLES 32
struct rates {
    struct tier tiers[1 + RATES_ROLES]; /* the first is everybody's */
    int count;
};

const char *rate_kind_name(enum rate_kind kind); /* "commands" */

void rates_init(struct rates *r); /* the defaults */
void rates_fini(struct rates *r);
/*
 * "[ROLE:]KIND[@SCOPE]=RATE[/BURST]", several; what a role is not given it has as everybody.
 * Without a scope: the user and the connection (or the address, where there is none: http,
 * handshakes). STATUS_INVALID with a sentence in err, STATUS_NOMEM.
 */
int rates_read(struct rates *r, const char *const *options, int count, struct buf *err);
const struct tier *rates_of(const struct rates *r, const char *role); /* NULL: nobody's role */

#endif
