#ifndef ROWTAP_CAPTURE_REREAD_H
#define ROWTAP_CAPTURE_REREAD_H

#include "capture/recorder.h"

/*
 * Where the preupdate hook's values cannot be trusted the row itself is read, by its key, on the
 * same connection, while the hook runs: the row is still as it was before the change.
 */

/* Some old value may not be what SQL would have given; they are in `row`. */
bool reread_doubtful(const struct table *t, const struct value *row);
/* The hook gives the rowid in place of one column's value, in new rows too. */
bool reread_always(const struct table *t);
/* Reads all stored columns of the row with this key (`row` holds it already). */
int reread_row(struct recorder *r, const struct table *t, int64_t rowid, struct value *row);

#endif
