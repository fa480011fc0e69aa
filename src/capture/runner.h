#ifndef ROWTAP_CAPTURE_RUNNER_H
#define ROWTAP_CAPTURE_RUNNER_H

#include "capture/cursor.h"
#include "capture/executor.h"
#include "capture/spares.h"
#include <pthread.h>

/*
 * Threads that run SQL for those who may not block: database_run and cursors (cursor.h). What only
 * reads runs on a connection of the runner's; what does not is posted to the database thread, and
 * takes no thread here. One more thread, which sleeps while nothing is under way, looks after what
 * was cancelled, also while it waits, after cursors whose time is up, and tells their progress.
 */
struct runner_options {
    const char *path; /* as SQLite must hear it; kept */
    const struct database_options *database;
    struct published *published; /* kept */
    int threads;                 /* at least 1 */
    uint32_t max_waiting;        /* that have not ended, on the database thread too */
    uint32_t max_open;           /* cursors with a read transaction; at least 1 */
    int64_t cursor_timeout_ms;   /* of that transaction; 0: none */
    /* To the database thread. */
    void (*post)(void *ctx, struct sql_request *r);
    void *ctx;
};

struct runner_worker {
    struct runner *runner;
    pthread_t thread;
    /* While it runs one; the runner's lock guards both. */
    struct sql_request *request;
    struct sqlconn *conn;
};

struct runner {
    struct runner_options options;
    pthread_mutex_t lock;
    pthread_cond_t work;  /* there is some, or the end */
    pthread_cond_t alarm; /* the watch has something to look after */
    pthread_cond_t idle;  /* nothing is under way any more */
    pthread_t watch;
    struct runner_worker *workers;
    int started;
    bool has_locks, has_watch;
    atomic_bool closing; /* nothing more is begun, and what runs is interrupted */

    bool stop, ending, draining;
    bool watching, alarmed;           /* the watch wakes up soon; has to look again at once */
    struct sql_request *head, **tail; /* that wait for a thread, by message.next */
    struct sql_request *refused;      /* not to be run at all, by message.next */
    struct list cursors;              /* all that have not ended */
    struct list fresh, ready;         /* that wait for a thread: unopened, and others */
    struct list resting;              /* all pages of which are taken */
    struct list writes;               /* that wait for a slot on the database thread */
    uint32_t open, writing;           /* cursors with a slot */
    uint32_t stepping;                /* cursors on a thread now */
    bool cursor_turn, fresh_turn;     /* where there is a choice */
    struct list unwanted;             /* cursors not to be run at all */
    uint32_t under_way;
    struct spares spares;
};

/* Starts the threads. STATUS_NOMEM or STATUS_IO; runner_stop and runner_fini are right anyway. */
int runner_start(struct runner *r, const struct runner_options *options);
void runner_run(struct runner *r, struct sql_request *q); /* database_run */
void runner_open(struct runner *r, struct cursor *c);     /* cursor_open */
/*
 * From now on requests are refused. Waits until those under way have ended, at most ms
 * milliseconds; false: some have not. Any thread.
 */
bool runner_drain(struct runner *r, int64_t ms);
void runner_interrupt(struct runner *r); /* database_interrupt */
/* Interrupts what runs here, refuses what waits, and ends the threads. */
void runner_stop(struct runner *r);
void runner_fini(struct runner *r); /* when the database thread has ended as well */

#endif
