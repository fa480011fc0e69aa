#ifndef ROWTAP_CAPTURE_QUERY_H
#define ROWTAP_CAPTURE_QUERY_H

#include "capture/executor.h"
#include "capture/moment.h"

/*
 * Runs a request that only reads, in a read transaction: on a pooled connection, or on the writer's
 * while that is in none. False when the request is not made of queries alone, or does not compile:
 * nothing was run then, and it belongs to the writer.
 */
bool query_run(struct sqlconn *c, struct published *published,
    const struct database_options *options, struct job *j);

/*
 * The same on a connection that goes from one request to the next: what it has begun to read for
 * one (*kept; zeros at first) is read on for the next, as long as nobody has committed. At the end,
 * if kept->placed, sqlconn_release is due.
 */
bool query_run_next(struct sqlconn *c, struct published *published,
    const struct database_options *options, struct job *j, struct moment *kept);

/*
 * Begins to read at a moment whose seq is known: no commit ended between looking at the two. Under
 * constant commits it settles for a seq that is not after what it sees. A result code of SQLite.
 */
int query_begin(struct sqlconn *c, struct published *published, uint64_t *seq);

bool query_reads(const struct prepared *p); /* a query, which any connection can run */

/* By its first words the request may be one for query_run. False spares the attempt. */
bool query_possible(const struct sql_request *r);

#endif
