#ifndef ROWTAP_CAPTURE_RESULT_H
#define ROWTAP_CAPTURE_RESULT_H

#include "base/buf.h"
#include "capture/statement_cache.h"

/*
 * Steps a bound statement to its end and writes what it gave as the opening members of an answer:
 * {"columns":[…],"rows":[[…],…]   with nothing after it. Resets the statement. A result code of
 * SQLite; buf_error(out) tells when the answer became too large.
 */
int result_run(struct buf *out, struct prepared *p);

void result_columns(struct buf *out, sqlite3_stmt *s); /* ["a","b"] */
/* The row that it stands on: [1,"a"]. SQLITE_OK or SQLITE_NOMEM. */
int result_row(struct buf *out, sqlite3_stmt *s);

void result_empty(struct buf *out); /* the same for what is not a query */
void result_counts(struct buf *out, int64_t changes, int64_t last_rowid); /* the next members */
void result_end(struct buf *out, uint64_t seq, int64_t duration_ns);      /* the last ones */

#endif
