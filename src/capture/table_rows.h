#ifndef ROWTAP_CAPTURE_TABLE_ROWS_H
#define ROWTAP_CAPTURE_TABLE_ROWS_H

#include "capture/sqlconn.h"
#include "change/batch.h"

/*
 * Reading a table's rows with SELECT, so that they look as in events: its stored columns, in order;
 * virtual generated ones stay ABSENT.
 */

/* "SELECT … FROM …"; `rowid`: with the rowid after the columns, 0 where it cannot be had. */
void table_rows_put_select(sqlite3_str *sql, const struct table *t, bool rowid);
/* The row the statement stands on; text and blobs are SQLite's until it moves. STATUS_NOMEM. */
int table_rows_peek(sqlite3_stmt *s, const struct table *t, struct value *row);
/* The same into a row of the batch, copied. STATUS_NOMEM or STATUS_TOO_LARGE. */
int table_rows_take(sqlite3_stmt *s, const struct table *t, struct batch *b, struct value *row);

#endif
