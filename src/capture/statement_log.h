#ifndef ROWTAP_CAPTURE_STATEMENT_LOG_H
#define ROWTAP_CAPTURE_STATEMENT_LOG_H

#include "capture/writer.h"

/*
 * What the log says of the requests to run SQL, and how long they took in all: their beginning and
 * end at level debug, and those that ran for longer than slow_query_ms as warnings. Never
 * parameters, results or the text of literals. Any thread; the request is the caller's.
 */
void statement_log_begin(struct sql_request *r);
/*
 * r->run_ns, r->rows and r->error are filled. `wrote`: on the database thread. Once for each
 * beginning: what ended there is not told again by who waits for it.
 */
void statement_log_end(
    struct sql_request *r, struct published *p, const struct database_options *options, bool wrote);
/* The same for one that only read, which is counted. */
void statement_log_read(
    struct sql_request *r, struct published *p, const struct database_options *options);

#endif
