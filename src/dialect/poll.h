#ifndef ROWTAP_DIALECT_POLL_H
#define ROWTAP_DIALECT_POLL_H

#include "hub/dialect.h"

/*
 * The long poll: a request with the parameters of a stream of events (sse.h), answered once with an
 * array of the native dialect's messages. The header Rowtap-Position is the `since` of the next
 * one.
 */
extern const struct dialect poll_dialect;

#endif
