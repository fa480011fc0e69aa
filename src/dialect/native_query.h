#ifndef ROWTAP_DIALECT_NATIVE_QUERY_H
#define ROWTAP_DIALECT_NATIVE_QUERY_H

#include "hub/dialect.h"

/* Queries in the native format: query:start and query:cancel in, query:started and so on out. */

int native_query_start(struct command *cmd);
int native_query_cancel(struct command *cmd);

void native_query_encode(struct buf *out, const struct reply *r);

#endif
