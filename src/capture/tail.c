#include "capture/tail.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/follower.h"
#include "capture/settle.h"
#include "capture/watch.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A log of so many frames is copied into the database, where that is wanted. */
#define LARGE_FRAMES 4000

struct tail {
    struct tail_options options;
    struct follower follower;
    struct watch watch;
    struct schema *schema;
    atomic_bool closing;
    char journal_mode[16];
    uint64_t seq, tx;
};

static struct schema *known(void *ctx)
{
    return ((struct tail *)ctx)->schema;
}

static void set_known(void *ctx, struct schema *schema)
{
    struct tail *t = ctx;
    schema_ref(schema);
    schema_unref(t->schema);
    t->schema = schema;
}

static void publish(struct tail *t, struct batch *b)
{
    batch_seal(b, &t->seq, &t->tx);
    t->options.publish(t->options.ctx, b);
}

static int hand_on(void *ctx)
{
    struct tail *t = ctx;
    struct batch *b = t->follower.ready;
    if (b && b->transaction_count > 0)
        publish(t, b);
    follower_taken(&t->follower);
    return STATUS_OK;
}

static int tell_gap(void *ctx, const char *reason)
{
    struct batch *b = batch_new(0);
    if (!b)
        return STATUS_NOMEM;
    b->gap = reason;
    publish(ctx, b);
    batch_unref(b);
    return STATUS_OK;
}

static void passed(void *ctx)
{
    (void)ctx;
}

static int read_journal_mode(struct tail *t)
{
    struct sqlconn c;
    sqlite3_stmt *s = NULL;
    int rc = sqlconn_open(&c, t->options.path, true, 1000, &t->closing);
    if (rc == SQLITE_OK)
        rc = sqlconn_prepare(&c, &s, "PRAGMA main.journal_mode");
    if (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        snprintf(t->journal_mode, sizeof(t->journal_mode), "%s",
            (const char *)sqlite3_column_text(s, 0));
        rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    sqlconn_close(&c);
    return rc;
}

/* The log, its place, and the schema there. */
static int open_log(struct tail *t)
{
    static const struct follower_ops ops = {.known = known,
        .set_known = set_known,
        .hand_on = hand_on,
        .gap = tell_gap,
        .passed = passed};
    struct tracker *tracker = &t->follower.tracker;
    bool writable = t->options.checkpoint && access(t->options.path, W_OK) == 0;
    int rc = follower_open(&t->follower, t->options.path, writable, &t->closing, &ops, t);
    if (rc != SQLITE_OK)
        return rc;
    t->follower.park_frames = LARGE_FRAMES;
    int status = tracker_read_trees(tracker, NULL);
    if (status < 0)
        return status == STATUS_NOMEM ? SQLITE_NOMEM : SQLITE_CORRUPT;
    set_known(t, tracker->trees->schema);
    const char *file = sqlite3_db_filename(tracker->pins[0].conn.db, "main");
    status = watch_init(&t->watch, sqlite3_filename_wal(file));
    return status == STATUS_OK ? SQLITE_OK : SQLITE_NOMEM;
}

static void explain(const struct tail *t, int rc, struct buf *err)
{
    const char *path = t->options.path;
    if ((rc & 0xff) == SQLITE_BUSY)
        buf_printf(err,
            "cannot follow %s: another process has locked it for itself (PRAGMA "
            "locking_mode=EXCLUSIVE, or "
            "recovery is under way); try again when it is done",
            path);
    else if ((rc & 0xff) == SQLITE_READONLY || (rc & 0xff) == SQLITE_CANTOPEN)
        buf_printf(err,
            "cannot follow %s: this user may not make, or not read, the -wal and -shm files next "
            "to "
            "it; while its program has it open they are there",
            path);
    else if (rc == SQLITE_OK)
        buf_printf(err,
            "cannot follow %s: its journal mode is %s, and only a write-ahead log can be followed; "
            "its application, or the sqlite3 shell, can switch it once and for all: PRAGMA "
            "journal_mode=WAL",
            path, t->journal_mode);
    else
        buf_printf(err, "cannot follow %s: %s", path, sqlite3_errstr(rc));
}

struct tail *tail_open(const struct tail_options *options, struct buf *err)
{
    struct tail *t = mem_zalloc(sizeof(*t));
    if (!t) {
        buf_puts(err, "out of memory");
        return NULL;
    }
    t->options = *options;
    t->watch.fd = -1;
    int rc = read_journal_mode(t);
    bool wal = rc == SQLITE_OK && strcmp(t->journal_mode, "wal") == 0;
    if (wal)
        rc = open_log(t);
    if (wal && rc == SQLITE_OK) {
        follower_start(&t->follower);
        return t;
    }
    explain(t, rc, err);
    tail_close(t);
    return NULL;
}

const struct schema *tail_schema(const struct tail *t)
{
    return t->schema;
}

const char *tail_journal_mode(const struct tail *t)
{
    return t->journal_mode;
}

/* A signal ends the wait, and what it set is looked at soon in any case. */
static int wait_for_news(struct tail *t)
{
    int64_t ns = watch_timeout(&t->watch, follower_soon(&t->follower));
    struct timespec timeout = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    struct pollfd p = {.fd = watch_fd(&t->watch), .events = POLLIN};
    int n = ppoll(&p, 1, &timeout, NULL);
    if (n < 0 && errno != EINTR)
        return STATUS_IO;
    watch_woke(&t->watch, n > 0);
    return STATUS_OK;
}

int tail_run(struct tail *t, const atomic_bool *stop, struct buf *err)
{
    while (!atomic_load(stop)) {
        bool more = follower_run(&t->follower);
        more |= settle_run(&t->follower, false);
        if (more)
            continue;
        if (t->follower.found)
            watch_found(&t->watch);
        if (wait_for_news(t) < 0) {
            buf_printf(err, "cannot wait for changes of %s: %s", t->options.path, strerror(errno));
            return STATUS_IO;
        }
    }
    return STATUS_OK;
}

void tail_close(struct tail *t)
{
    watch_fini(&t->watch);
    follower_close(&t->follower);
    schema_unref(t->schema);
    mem_free(t);
}
