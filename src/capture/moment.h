#ifndef ROWTAP_CAPTURE_MOMENT_H
#define ROWTAP_CAPTURE_MOMENT_H

#include "capture/writer.h"

/*
 * Begins a read transaction on c and tells the seq whose state it sees. *exact: no commit was under
 * way or ended meanwhile, so every change up to *seq is in it and none after, and *schema (may be
 * NULL) got a reference to the schema published then. Otherwise *seq is not after what is seen, and
 * *schema is NULL. Any thread that may use c. A result code of SQLite; on failure no transaction is
 * open.
 */
int moment_begin(
    struct sqlconn *c, struct published *p, uint64_t *seq, struct schema **schema, bool *exact);

/* What is held, and where in the log it ends, if that is known: where others may commit as well. */
struct moment {
    uint64_t seq;
    bool exact, placed;
    const volatile void *shm; /* the connection's, as long as it holds the transaction */
    uint32_t frames;
    uint8_t salt[WAL_SALT];
};

/* The same by sqlconn_hold: sqlconn_release ends it. */
int moment_hold(struct sqlconn *c, struct published *p, struct moment *m);
/* What is still held is the newest there is. */
bool moment_is_now(const struct moment *m);

#endif
