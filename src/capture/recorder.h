#ifndef ROWTAP_CAPTURE_RECORDER_H
#define ROWTAP_CAPTURE_RECORDER_H

#include "capture/sqlconn.h"
#include "change/batch.h"

/*
 * Copies what the preupdate hook reports (https://www.sqlite.org/c3ref/preupdate_blobwrite.html)
 * into the batch. Database thread only.
 */
enum recorder_failure { RECORDER_OK, RECORDER_NOMEM, RECORDER_FULL, RECORDER_STALE, RECORDER_READ };

struct recorder {
    struct sqlconn *conn;
    struct batch *batch;   /* where changes go; NULL: none are expected */
    struct schema *schema; /* as the connection sees it now; holds a reference */
    enum recorder_failure
        failed;      /* something is missing from the batch: it must not be committed */
    int sqlite_code; /* why reading a value failed, or 0 */

    const struct schema *last_schema; /* the table found last, and for which schema */
    const struct table *last_table;
    const struct table *reread_table; /* for which `reread` was prepared */
    sqlite3_stmt *reread;
    struct change *incomplete; /* waits for the update hook to read the new row */
};

void recorder_init(struct recorder *r, struct sqlconn *conn); /* installs the hooks */
void recorder_fini(struct recorder *r);
void recorder_set_schema(struct recorder *r, struct schema *schema); /* takes over the reference */

#endif
