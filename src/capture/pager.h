#ifndef ROWTAP_CAPTURE_PAGER_H
#define ROWTAP_CAPTURE_PAGER_H

#include "capture/journal.h"
#include "capture/scan.h"
#include "capture/scanner.h"
#include <pthread.h>

/*
 * The thread that reads for those who may not block (scan.h): snapshots of tables, which take turns
 * page by page on a few connections, and pages of the journal on one more.
 */
struct pager_options {
    const char *path;            /* as SQLite must hear it; kept */
    struct published *published; /* kept */
    int snapshots;               /* connections for them; at least 1 */
    int64_t scan_timeout_ms;     /* 0: none */
    bool journal;
    uint64_t run; /* the journal's */
    /* Asks the writer to look for a schema that it has not seen. */
    void (*follow_schema)(void *ctx);
    void *ctx;
};

struct pager {
    struct pager_options options;
    struct scanner_options scanner;
    struct mailbox mailbox;
    pthread_t thread;
    bool has_thread;
    atomic_bool closing; /* everything fails with STATUS_CLOSED */
    struct message stop_message;

    bool stop; /* from here on the thread's */
    struct scanner *scanners;
    struct scan *head, **tail; /* SCAN_OPENs that wait for a scanner, by message.next */
    int64_t trying_ms;         /* since when the first of them tries to begin; 0: it has none */
    struct past *past, **past_tail; /* pages that are asked for, by message.next */
    int64_t past_ms;                /* since when the first of them is tried; 0: it is not yet */
    struct sqlconn conn;            /* the journal's; opened with the first page */
    struct piece_reader reader;
    bool damaged; /* said so in the log */
};

/* Starts the thread. STATUS_NOMEM or STATUS_IO; pager_stop is right in any case. */
int pager_start(struct pager *p, const struct pager_options *options);
/* What is asked from now on, or under way, fails with STATUS_CLOSED. Any thread. */
void pager_interrupt(struct pager *p);
/* Gives everything back with STATUS_CLOSED, ends the thread and closes the connections. */
void pager_stop(struct pager *p);

void pager_scan(struct pager *p, struct scan *s);      /* database_scan */
void pager_read_past(struct pager *p, struct past *q); /* database_read_past */

#endif
