#ifndef ROWTAP_HUB_LIMITS_H
#define ROWTAP_HUB_LIMITS_H

#include "hub/dialect.h"

/*
 * How much a session may do in a second. False: it was too much, and the client has been told so,
 * or, where it does not hear, is being closed with 1008. `cmd` may be one that could not be read;
 * NULL: not even that. Loop thread.
 */
struct limiter_client;
struct session;

bool limits_allow(struct session *s, const struct command *cmd);

void limits_free(struct limiter_client *c); /* NULL is allowed */

/* Room for so many more bytes of filters and columns: 0, or STATUS_TOO_LARGE and err. */
int limits_text(const struct session *s, size_t len, struct error_text *err);

#endif
