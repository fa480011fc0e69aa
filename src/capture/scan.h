#ifndef ROWTAP_CAPTURE_SCAN_H
#define ROWTAP_CAPTURE_SCAN_H

#include "base/mailbox.h"
#include "change/batch.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Reading for those who may not block: the loops ask, the pager thread of the database reads, and
 * `done` hands the result back. Each object has at most one step under way; between steps it is the
 * asker's alone. With database.h this is all that the layers above see of capture/.
 */
struct database;

/*
 * The rows of one table at one moment. Steps: SCAN_OPEN, then SCAN_PAGE until `last` or a failure,
 * then always SCAN_CLOSE (also after a failed SCAN_OPEN). A read transaction is open from the first
 * to the last of them, on one of few connections: SCAN_OPEN waits for its turn, and after
 * scan_timeout_ms the transaction is gone and the rest fails with STATUS_CLOSED. It never blocks
 * the writer (in journal modes other than WAL, where readers do, it may last only half of
 * busy_timeout_ms).
 */
enum scan_step { SCAN_OPEN, SCAN_PAGE, SCAN_CLOSE };

struct scan {
    struct message message; /* the pager's; free for the asker's use between steps */
    enum scan_step step;
    void (*done)(struct scan *s); /* on the pager thread; the object is the asker's again */
    void *ctx;
    /* Any thread, at any time: nobody wants it any more; what is under way ends STATUS_CLOSED. */
    atomic_bool cancel;

    /*
     * Set before the first SCAN_PAGE; the asker's until SCAN_CLOSE is done. `where` (may be NULL)
     * is a list of SQL conditions, each ended by a NUL and all by another one, that are true for
     * every wanted row; those are used that let an index find the rows, the others are not.
     * `keep` (may be NULL: all) decides in any case, on the pager thread.
     */
    const struct table *table; /* of `schema` */
    const char *where;
    const struct value *params; /* for ?1, ?2, … of `where` */
    int param_count;
    bool (*keep)(void *ctx, const struct value *row, int64_t rowid);
    size_t page_bytes; /* so much memory a page, unless one row needs more */

    /*
     * Results. status: 0, STATUS_NOMEM, STATUS_IO (the file cannot be read), STATUS_CLOSED
     * (timeout, cancelled, or the server ends), STATUS_CONFLICT (another process changed the
     * schema, and the writer cannot take note of it because the file is locked).
     */
    int status;
    uint64_t seq;          /* SCAN_OPEN: every change up to this one is in the rows, none after */
    struct schema *schema; /* SCAN_OPEN: as of then; a reference that SCAN_CLOSE gives back */
    /*
     * SCAN_PAGE: the next rows, perhaps none, as CHANGE_INSERTs of `table` with row, rowid and seq
     * set; no transactions. Virtual generated columns are ABSENT, as in events. The asker's
     * reference; NULL when it failed.
     */
    struct batch *batch;
    bool last; /* SCAN_PAGE: there are no more */
};

/*
 * Posts the step. Any thread, also from within `done`. database_close gives back all that is under
 * way, with STATUS_CLOSED (SCAN_CLOSE with 0); nothing may be posted after it, so whoever still has
 * a scan then lets go of its `schema` himself.
 */
void database_scan(struct database *db, struct scan *s);

/*
 * A page of the journal: the changes after `after`, in order, at most about `max_bytes` of memory
 * of them but at least one.
 */
struct past {
    struct message message;
    void (*done)(struct past *p); /* on the pager thread; the object is the asker's again */
    void *ctx;
    uint64_t after;
    size_t max_bytes;

    /* 0, STATUS_NOT_FOUND (no longer kept, damaged, or no journal), STATUS_NOMEM, STATUS_IO,
     * STATUS_CLOSED.
     */
    int status;
    struct batch *batch; /* contains change after + 1; sealed; the asker's reference; or NULL */
};

/* Posts it. Any thread. */
void database_read_past(struct database *db, struct past *p);

#endif
