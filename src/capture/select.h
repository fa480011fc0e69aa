#ifndef ROWTAP_CAPTURE_SELECT_H
#define ROWTAP_CAPTURE_SELECT_H

#include "capture/sqlconn.h"
#include "change/batch.h"

/*
 * Whole rows of a table by SELECT, with the values that the preupdate hook's would have: virtual
 * generated columns are absent. `where` is a condition or NULL. A result code of SQLite.
 */
int select_prepare(struct sqlconn *c, const struct table *t, const char *where, sqlite3_stmt **s);
/* The condition can be answered by an index: the table need not be read as a whole. */
bool select_by_index(struct sqlconn *c, const struct table *t, const char *where);

/*
 * Adds the row that the statement stands at to the batch, as a CHANGE_INSERT. STATUS_NOMEM or
 * STATUS_TOO_LARGE.
 */
int select_row(sqlite3_stmt *s, const struct table *t, struct batch *b);

#endif
