#ifndef ROWTAP_TEST_FAKE_PAGER_H
#define ROWTAP_TEST_FAKE_PAGER_H

#include "capture/database.h"
#include "capture/scan.h"
#include <pthread.h>

/*
 * In place of the database's pager: a thread of its own that serves scans and pages of a journal
 * from what a test puts here, with the errors, delays and orders that the real one cannot be made
 * to show. Set what is above `lock` before anything is asked, or while it is held.
 */
#define FAKE_SCANS 256

struct fake_scan {
    const struct scan *scan;
    int64_t rows; /* given so far */
};

struct database {
    struct schema *schema; /* what a scan sees, a reference */
    uint64_t seq;          /* and its seq */
    int rows;              /* of any table: 1..rows */
    int page_rows;
    /* Fills the columns of row i; NULL: its number and, second, its last digit. */
    void (*fill)(struct value *row, int64_t i);
    int fail_open, fail_page; /* the status of the step; 0: none */
    int pages_before;         /* that succeed before fail_page */

    atomic_bool journal;
    uint64_t kept_after;   /* the journal's oldest */
    uint32_t page_changes; /* of one page of the journal */
    int fail_past;
    bool backwards;    /* what was asked last is served first */
    unsigned delay_us; /* before each step */

    pthread_mutex_t lock;
    pthread_cond_t cond;
    pthread_t thread;
    bool running, stopping, held;
    struct message *queue;
    struct batch *batches[20000];
    size_t batch_count;
    struct fake_scan scans[FAKE_SCANS]; /* those open */
    int opened, open, pages, pasts;     /* so far, now, so far, so far */
    int under_way, most_under_way;      /* pages of the journal asked for and not back */
};

struct database *fake_pager_new(void);
/* Fails what waits, as database_close does. Everything opened has to be closed by then. */
void fake_pager_stop(struct database *db);
void fake_pager_free(struct database *db);

void fake_pager_hold(struct database *db); /* returns when nothing is being read */
void fake_pager_release(struct database *db);
void fake_pager_record(struct database *db, struct batch *b); /* into the journal */
int fake_pager_count(struct database *db, const int *figure);
/* Waits until so many scans are open; fails the test after five seconds. */
void fake_pager_expect_open(struct database *db, int open);
/* Waits until so many steps have been asked for and not been served. */
void fake_pager_expect_waiting(struct database *db, int count);

#endif
