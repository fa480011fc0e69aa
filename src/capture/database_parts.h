#ifndef ROWTAP_CAPTURE_DATABASE_PARTS_H
#define ROWTAP_CAPTURE_DATABASE_PARTS_H

#include "base/pulse.h"
#include "capture/copier.h"
#include "capture/database.h"
#include "capture/group.h"
#include "capture/pager.h"
#include "capture/readers.h"
#include "capture/runner.h"
#include "capture/watch.h"
#include <pthread.h>

/* What database.c, database_open.c and database_thread.c share; for nobody else. */
struct database {
    struct database_options options, swift; /* the same with the bounds of what is swift */
    char *path;                             /* as given */
    char *open_path;                        /* as SQLite must hear it */
    const char *wal_path;                   /* SQLite's, as long as the writer is open */
    char epoch[JOURNAL_EPOCH_MAX + 1];
    char journal_mode[16];
    struct published published;
    struct writer writer;
    struct readers readers;
    struct pager pager;
    struct runner runner;
    struct group group;
    struct mailbox mailbox;
    pthread_t thread;
    /*
     * Whoever has it is the database thread for that time, and may touch what is said to be of the
     * database thread only. That thread itself gives it away while it rests.
     */
    pthread_mutex_t duty;
    atomic_bool duty_wanted; /* by the thread, which comes first then */
    int64_t large_ns;        /* when somebody who had the duty published a large batch */
    atomic_bool interrupted;
    struct watch watch; /* of the log */
    struct copier copier;
    struct message nudge_message;
    atomic_bool nudged;   /* it is posted */
    bool stop;            /* the database thread's: leave when nothing waits */
    int64_t next_trim_ms; /* likewise, by the steady clock */
    struct message stop_message;
    struct message follow_message;
    atomic_bool following; /* it is posted */
    struct message start_message;
    struct pulse pulse;
    uint64_t steps_seen; /* when database_works was last asked */
    bool has_readers, has_mailbox, has_thread, external;
};

/* The database thread. Once open: the mailbox first, for others post to it. STATUS_IO, and why. */
int database_thread_prepare(struct database *db, struct buf *err);
int database_thread_start(struct database *db, struct buf *err);
/* After all that was posted; and what was posted by others until they ended, which is after it. */
void database_thread_stop(struct database *db);
void database_thread_fini(struct database *db);
/* Each posts to it; any thread; ctx is the database. */
void database_thread_run(void *ctx, struct sql_request *r);
void database_thread_follow_schema(void *ctx);
void database_thread_nudge(void *ctx); /* there may be something to do: the copier is done */
/*
 * Runs a request here and now, with r->json or r->error filled, if it is small, the database thread
 * rests and nobody waits for it: that saves the ways there and back. r->done is not called. False:
 * not so; post it. Any thread that may block and has the stack for SQL.
 */
bool database_thread_stand_in(struct database *db, struct sql_request *r);

#endif
