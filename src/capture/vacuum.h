#ifndef ROWTAP_CAPTURE_VACUUM_H
#define ROWTAP_CAPTURE_VACUUM_H

#include "change/batch.h"

/*
 * The server's own VACUUM gives the rows of some tables new rowids, from 1 on (SQLite 3.40: of
 * those without an INTEGER PRIMARY KEY and without an index), and calls no hook. Rowids without a
 * gap stay as they are; others do not keep both their least and their greatest, so that a look at
 * these two before and after tells. Where another process committed in between, and so may have
 * hidden it, every such table counts. What is found becomes a transaction of the sequence, right
 * after what others committed before the VACUUM. Database thread only.
 */
struct writer;
struct vacuum_ends;

struct vacuum {
    bool missed; /* one was made of which nobody has been told */
    bool runs;
    struct batch *batch;                /* a change for each table that may be concerned */
    struct vacuum_ends *before, *after; /* of each of these tables */
    int64_t version;                    /* PRAGMA data_version */
};

/* Outside a transaction. A result code; on failure nothing is under way. */
int vacuum_begin(struct vacuum *v, struct writer *w);
/* The statement has ended, one way or the other. */
void vacuum_end(struct vacuum *v, struct writer *w);
/* Where one was missed, every table counts that may be concerned. In no transaction. */
void vacuum_announce_missed(struct vacuum *v, struct writer *w);

#endif
