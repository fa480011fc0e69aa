#ifndef ROWTAP_CAPTURE_SCANNER_H
#define ROWTAP_CAPTURE_SCANNER_H

#include "capture/scan.h"
#include "capture/writer.h"

/*
 * A read connection that serves one scan at a time (scan.h), from SCAN_OPEN to SCAN_CLOSE or until
 * it is taken from it. Pager thread only. Results are those of struct scan's status.
 */
struct scanner {
    struct sqlconn conn; /* opened with the first scan */
    struct scan *scan;   /* NULL: free */
    sqlite3_stmt *select;
    struct value *row; /* the one the statement stands on */
    bool on_row;       /* it belongs to the next page */
    int64_t opened_ms; /* clock_mono_ms */
};

struct scanner_options {
    const char *path;
    struct published *published;
    const atomic_bool *closing;
};

/* What scanner_open says where a commit was in its way: to be called again in a while. */
#define SCANNER_BUSY 1

/* SCAN_OPEN on a free scanner; it is free again unless the result is 0. */
int scanner_open(struct scanner *c, const struct scanner_options *options, struct scan *s);
int scanner_page(struct scanner *c); /* SCAN_PAGE of its scan */
/* Ends the transaction: it is free. */
void scanner_release(struct scanner *c);
void scanner_fini(struct scanner *c);

#endif
