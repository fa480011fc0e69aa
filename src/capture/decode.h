#ifndef ROWTAP_CAPTURE_DECODE_H
#define ROWTAP_CAPTURE_DECODE_H

#include "capture/tracker.h"

/*
 * Makes the changes of one commit of another process out of its frames.
 */

/*
 * Adds the commit from the tracker's place to `end` to the output as one transaction: events of its
 * DDL and rows in the order of the contract. Where the output is handed on in between, that ends
 * the transaction in one batch and goes on in the next. The trees are then those after it, and the
 * place is `end`. STATUS_INVALID, STATUS_IO, STATUS_TOO_LARGE: it cannot be decoded; STATUS_NOMEM,
 * or what out->full gave. On failure the place and the trees are as before.
 */
int decode_commit(struct tracker *t, uint32_t end, struct wal_output *out);

#endif
