#ifndef ROWTAP_CAPTURE_ROWS_AFTER_H
#define ROWTAP_CAPTURE_ROWS_AFTER_H

#include "capture/recorder.h"

/* What no hook reports and has to be read afterwards, in the same transaction. */

/*
 * Adds the rows of tables that `before` does not have as INSERTs: a table that was just created has
 * rows only by CREATE TABLE … AS SELECT. SQLITE_OK or an error; r->failed says if the batch is
 * full.
 */
int rows_after_create(struct recorder *r, const struct schema *before);

/*
 * What ALTER TABLE ADD COLUMN gave the rows that were there. The text is in the recorder's batch.
 * For struct schema_diff; ctx is the recorder. 0, STATUS_NOMEM or STATUS_TOO_LARGE.
 */
int rows_after_default(void *ctx, const struct column *column, struct value *value);

#endif
