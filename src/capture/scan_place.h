#ifndef ROWTAP_CAPTURE_SCAN_PLACE_H
#define ROWTAP_CAPTURE_SCAN_PLACE_H

#include "capture/scan.h"
#include "capture/writer.h"

/*
 * A connection on which one scan at a time holds its read transaction. Pager thread only. What
 * fails says so in the scan's status.
 */
struct scan_place {
    struct sqlconn conn;
    bool connected;
    struct scan *owner; /* NULL: free */
    sqlite3_stmt *rows;
    int64_t opened_ms;
};

void scan_open(struct scan_place *at, struct scan *s, struct published *published);
void scan_page(struct scan_place *at, struct scan *s);
/* Ends the transaction, whoever holds it. */
void scan_end(struct scan_place *at);

#endif
