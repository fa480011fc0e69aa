#ifndef ROWTAP_CAPTURE_SCAN_H
#define ROWTAP_CAPTURE_SCAN_H

#include "base/mailbox.h"
#include "change/batch.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Reading for those who may not block: the loops ask, the pager thread of the database reads, and
 * `done` hands the result back. Each object has at most one step under way; between steps it is the
 * asker's alone. With database.h this is all that the layers above see of capture/.
 */
struct database;
struct scan_place;

/*
 * The rows of one table at one moment. Steps: SCAN_OPEN, then SCAN_PAGE until `last` or a failure,
 * then always SCAN_CLOSE (also after a failed SCAN_OPEN, and while the server ends). A read
 * transaction is open from the first to the last of them, on one of few connections: SCAN_OPEN
 * waits for its turn, and after scan_timeout_ms the rest fails with STATUS_CLOSED. It never blocks
 * the writer.
 */
enum scan_step { SCAN_OPEN, SCAN_PAGE, SCAN_CLOSE };

struct scan {
    struct message message; /* the pager's; free for the asker's use between steps */
    enum scan_step step;
    void (*done)(struct scan *s); /* on the pager thread; the object is the asker's again */
    void *ctx;

    /*
     * Set before the first SCAN_PAGE; the asker's until SCAN_CLOSE is done. `where` (may be NULL)
     * is an SQL condition that finds the wanted rows, used only where it can be answered by an
     * index; `keep` (may be NULL: all) decides in any case, on the pager thread.
     */
    const struct table *table; /* of `schema` */
    const char *where;
    const struct value *params; /* for ?1, ?2, … of `where` */
    int param_count;
    bool (*keep)(void *ctx, const struct value *row, int64_t rowid);
    size_t page_bytes; /* about so much memory a page */

    /*
     * Results. status: 0, STATUS_NOMEM, STATUS_IO (the file cannot be read), STATUS_CLOSED
     * (timeout, or the server ends), STATUS_CONFLICT (another process changed the table's
     * definition).
     */
    int status;
    uint64_t seq;          /* SCAN_OPEN: every change up to this one is in the rows, none after */
    struct schema *schema; /* SCAN_OPEN: as of then; a reference that SCAN_CLOSE gives back */
    struct batch *batch;   /* SCAN_PAGE: the next rows as CHANGE_INSERTs, perhaps none; the asker's
                              reference; NULL when it failed */
    bool last;             /* SCAN_PAGE: there are no more */

    /* The pager's. */
    struct scan_place *place;
    struct scan *next;
};

/* Posts the step. Any thread. */
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

    /* 0, STATUS_NOT_FOUND (no longer kept, or no journal), STATUS_NOMEM, STATUS_IO, STATUS_CLOSED.
     */
    int status;
    struct batch *batch; /* contains change after + 1; sealed; the asker's reference; or NULL */
};

/* Posts it. Any thread. */
void database_read_past(struct database *db, struct past *p);

#endif
