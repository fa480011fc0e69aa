#include "capture/writer_parts.h"

#include "base/status.h"
#include "capture/offline.h"
#include <string.h>
#include <time.h>

/* Attempts to get the lock between two commits of a process that makes one after the other. */
#define LOCK_TRIES 20
#define LOCK_PAUSE_NS 20000
/* Frames of a small commit. */
#define SMALL_FRAMES 32

/*
 * All that others committed is in the journal, and the file is as it is to be left: then the next
 * start can tell whether somebody changed it.
 */
bool writer_leave_place(struct writer *w, int64_t time_ms)
{
    if (!w->journal.options.enabled || !w->follower.active || w->follower.lost)
        return false;
    while (follower_run(&w->follower))
        ;
    batch_unref(w->batch);
    w->batch = w->recorder.batch = NULL;
    int rc = writer_begin(w);
    if (rc == SQLITE_OK)
        rc = writer_write_journal(w);
    if (rc == SQLITE_OK)
        rc = writer_write_place(w, time_ms);
    if (rc == SQLITE_OK)
        rc = sqlconn_run(&w->conn, OWN_COMMIT);
    if (rc == SQLITE_OK)
        writer_publish_ready(w);
    return rc == SQLITE_OK && !w->follower.lost && tracker_look(&w->follower.tracker) == 0;
}

int writer_begin_within(struct writer *w, int64_t timeout_ms)
{
    int64_t timeout = w->conn.busy_timeout_ms;
    w->conn.busy_timeout_ms = timeout_ms;
    int rc = sqlconn_run(&w->conn, OWN_BEGIN);
    w->conn.busy_timeout_ms = timeout;
    return rc;
}

/* In the middle of a transaction we cannot move on: whoever waits for us has to give up first. */
static int begin_to_hand_on(struct writer *w)
{
    return writer_begin_within(w, w->follower.ready->continues ? INT32_MAX : WRITER_PATIENCE_MS);
}

/*
 * What the follower has ready is published, with a journal after it was written to that. A lock of
 * another process is in the way: later.
 */
int writer_hand_on(struct writer *w)
{
    struct batch *ready = w->follower.ready;
    if (!ready)
        return STATUS_OK;
    if (ready->transaction_count == 0) {
        follower_taken(&w->follower);
        return STATUS_OK;
    }
    if (w->journal.options.enabled) {
        struct batch *own = w->batch;
        w->batch = NULL;
        int rc = begin_to_hand_on(w);
        if (rc == SQLITE_OK)
            rc = writer_commit_parts(w);
        w->batch = own;
        if (rc != SQLITE_OK) {
            if (!sqlite3_get_autocommit(w->conn.db))
                sqlconn_run(&w->conn, OWN_ROLLBACK);
            return (rc & 0xff) == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_IO;
        }
    }
    writer_publish_ready(w);
    return STATUS_OK;
}

static int hand_on(void *ctx)
{
    return writer_hand_on(ctx);
}

static int write_gap(struct writer *w)
{
    int rc = writer_begin_within(w, WRITER_PATIENCE_MS);
    if (rc == SQLITE_OK)
        rc = journal_write_gap(&w->journal, atomic_load(&w->published->seq) + 1, w->tx);
    if (rc == SQLITE_OK)
        rc = writer_write_place(w, 0);
    if (rc == SQLITE_OK)
        rc = sqlconn_run(&w->conn, OWN_COMMIT);
    if (rc == SQLITE_OK) {
        journal_committed(&w->journal);
        writer_note_past(w);
        return STATUS_OK;
    }
    journal_rolled_back(&w->journal);
    if (!sqlite3_get_autocommit(w->conn.db))
        sqlconn_run(&w->conn, OWN_ROLLBACK);
    return (rc & 0xff) == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_IO;
}

static int announce_gap(void *ctx, const char *reason)
{
    struct writer *w = ctx;
    struct batch *b = batch_new(0);
    if (!b)
        return STATUS_NOMEM;
    b->gap = reason;
    int status = w->journal.options.enabled ? write_gap(w) : STATUS_OK;
    if (status == STATUS_OK)
        writer_publish_batch(w, b, w->published->schema);
    else
        batch_unref(b);
    return status;
}

static struct schema *known(void *ctx)
{
    struct writer *w = ctx;
    return w->known;
}

/* The schema is another by a commit of another process. */
static void follow_known(void *ctx, struct schema *schema)
{
    struct writer *w = ctx;
    writer_set_known(w, schema);
    recorder_set_schema(&w->recorder, schema_ref(schema));
}

static void passed(void *ctx)
{
    writer_note_place(ctx);
}

static bool begin_soon(struct writer *w)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
    int rc = SQLITE_BUSY;
    for (int i = 0; i < LOCK_TRIES && (rc & 0xff) == SQLITE_BUSY; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        rc = writer_begin_within(w, 0);
    }
    return rc == SQLITE_OK;
}

void writer_commit_place(struct writer *w)
{
    if (!w->journal.options.enabled || !w->follower.ops || !begin_soon(w))
        return;
    int rc = writer_write_place(w, 0);
    if (rc == SQLITE_OK)
        rc = sqlconn_run(&w->conn, OWN_COMMIT);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(w->conn.db))
        sqlconn_run(&w->conn, OWN_ROLLBACK);
}

/*
 * After a restart of the log, and of the server, the journal's place must still tell that nothing
 * but one small commit of our own lay between it and the end of the log before. In no transaction.
 */
static bool may_restart(void *ctx)
{
    struct writer *w = ctx;
    const struct tracker *t = &w->follower.tracker;
    const struct journal_place *place = &w->journal.place;
    if (!w->journal.options.enabled ||
        (memcmp(place->salt, t->log.salt, sizeof(place->salt)) == 0 &&
            t->frame - place->frame <= SMALL_FRAMES))
        return true;
    writer_commit_place(w);
    return false;
}

/*
 * Our own small commit comes first in the next generation: what a large transaction leaves of it
 * when it is killed would hide how the one before ended.
 */
static void parked(void *ctx)
{
    struct writer *w = ctx;
    atomic_fetch_add(&w->published->restarts, 1);
    writer_commit_place(w);
}

int writer_open_follower(struct writer *w, const char *path, const atomic_bool *closing)
{
    static const struct follower_ops ops = {
        .known = known,
        .set_known = follow_known,
        .hand_on = hand_on,
        .gap = announce_gap,
        .passed = passed,
        .may_restart = may_restart,
        .parked = parked,
    };
    int rc = follower_open(&w->follower, path, true, closing, &ops, w);
    if (rc == SQLITE_OK)
        follower_attach(&w->follower, w->conn.db);
    return rc;
}

void writer_follow(struct writer *w)
{
    follower_start(&w->follower);
    vacuum_announce_missed(&w->vacuum, w);
    atomic_store(&w->published->following, true);
}
