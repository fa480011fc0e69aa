#ifndef ROWTAP_DIALECT_DIALECTS_H
#define ROWTAP_DIALECT_DIALECTS_H

#include "hub/dialect.h"

/*
 * Every wire format the server speaks and the URL path where a WebSocket speaks it. Constant; any
 * thread. A new dialect is one file and one row in dialects.c.
 */
struct dialect_route {
    const char *path; /* "/ws" */
    const struct dialect *dialect;
};

/* The i-th row, NULL past the last. */
const struct dialect_route *dialects_at(int i);
/* The dialect spoken at a path (without its query string), or NULL. */
const struct dialect *dialects_find(const char *path);

#endif
