#ifndef ROWTAP_HTTP_LIMITS_H
#define ROWTAP_HTTP_LIMITS_H

#include "access/limiter.h"
#include <stdbool.h>

/*
 * How much a client may do over HTTP, and whose address it has. Where these return false the
 * request has been answered: with 429, or, for a stream of events, with "come back later".
 */
struct request;

/*
 * Finds out who asks: the peer, or, where that is a --trusted-proxy, whom it speaks for, by the
 * last of X-Forwarded-For that is not such a proxy itself. Then limits_end is due.
 */
void limits_begin(struct request *r);
void limits_end(struct request *r);

bool limits_admit(struct request *r); /* counts the request */
/* It is of a known user: counts it to that one, and what follows. NULL: nobody. */
bool limits_identify(struct request *r, const char *user, const char *role);
bool limits_take(struct request *r, enum rate_kind kind); /* counts what it wants done */
/* It is to become a connection, which handover_run hands on. */
bool limits_connect(struct request *r);

#endif
