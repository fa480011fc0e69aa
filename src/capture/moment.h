#ifndef ROWTAP_CAPTURE_MOMENT_H
#define ROWTAP_CAPTURE_MOMENT_H

#include "capture/writer.h"

/*
 * Begins a read transaction on c at a moment whose seq is known: no commit was under way between
 * looking at the one and beginning the other. After that many tries under constant commits it
 * settles for a seq that is not after what it sees. *schema (may be NULL) is the schema of then, a
 * reference. A result code of SQLite.
 */
int moment_begin(
    struct sqlconn *c, struct published *p, int tries, uint64_t *seq, struct schema **schema);

/* The same, exactly, or SQLITE_BUSY after that time. Waits in between, in short pauses. */
int moment_begin_exactly(struct sqlconn *c, struct published *p, int64_t timeout_ms, uint64_t *seq,
    struct schema **schema);

#endif
