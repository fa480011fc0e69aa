#include "capture/writer.h"

#include "base/status.h"
#include "capture/rows_after.h"
#include "capture/schema_diff.h"
#include "capture/schema_read.h"
#include "capture/unit.h"
#include <time.h>

/* Attempts to get the lock between two commits of a process that makes one after the other. */
#define LOCK_TRIES 20
#define LOCK_PAUSE_NS 20000

/* `turn` odd: a commit is under way. */
static void set_turn(struct writer *w, bool odd)
{
    if ((atomic_load(&w->published->turn) & 1) != odd)
        atomic_fetch_add(&w->published->turn, 1);
}

/*
 * An autocommit unit is closed here, while SQLite can still be told to roll it back: so it is where
 * there is a journal, which must not be written from this hook.
 */
static int on_commit(void *ctx)
{
    struct writer *w = ctx;
    if (!w->open || !w->autocommit)
        return 0;
    w->committed = unit_close(w) == SQLITE_OK;
    w->vetoed = w->committed && w->journal.options.enabled && w->batch->change_count > 0;
    if (w->vetoed)
        w->committed = false;
    set_turn(w, w->committed);
    return !w->committed;
}

static void on_rollback(void *ctx)
{
    struct writer *w = ctx;
    w->committed = false;
    set_turn(w, false);
    follower_let_go(&w->follower);
}

static void set_published_schema(struct writer *w, struct schema *schema)
{
    struct published *p = w->published;
    if (p->schema == schema)
        return;
    struct schema *old = p->schema;
    pthread_mutex_lock(&p->lock);
    p->schema = schema_ref(schema);
    pthread_mutex_unlock(&p->lock);
    schema_unref(old);
}

static void set_known(struct writer *w, struct schema *schema)
{
    struct schema *old = w->known;
    w->known = schema_ref(schema);
    schema_unref(old);
}

int writer_open(struct writer *w, const struct database_options *options,
    struct published *published, const char *path, const atomic_bool *closing)
{
    *w = (struct writer){.options = options, .published = published};
    int rc = sqlconn_open(&w->conn, path, false, options->busy_timeout_ms, closing);
    if (rc != SQLITE_OK)
        return rc;
    recorder_init(&w->recorder, &w->conn);
    sqlite3_commit_hook(w->conn.db, on_commit, w);
    sqlite3_rollback_hook(w->conn.db, on_rollback, w);
    return SQLITE_OK;
}

void writer_close(struct writer *w)
{
    batch_unref(w->batch);
    follower_close(&w->follower);
    recorder_fini(&w->recorder);
    schema_unref(w->known);
    journal_close(&w->journal);
    sqlconn_close(&w->conn);
}

int writer_new_batch(struct writer *w)
{
    batch_unref(w->batch);
    w->batch = w->recorder.batch = batch_new(w->options->max_transaction);
    w->recorder.incomplete = NULL;
    return w->batch ? SQLITE_OK : SQLITE_NOMEM;
}

/* Another process's DDL becomes a transaction of its own. */
static int record_foreign_schema(struct writer *w, struct schema *fresh)
{
    struct schema_diff diff = {
        .batch = w->batch,
        .first = w->batch->change_count,
        .before = w->recorder.schema,
        .after = fresh,
        .external = true,
        .default_value = rows_after_default,
        .ctx = &w->recorder,
    };
    struct batch_mark mark = batch_mark(w->batch);
    if (schema_diff_finish(&diff) == STATUS_OK &&
        batch_end_transaction(w->batch, 0, fresh) == STATUS_OK)
        return SQLITE_OK;
    batch_rewind(w->batch, &mark);
    return SQLITE_NOMEM;
}

int writer_check_schema(struct writer *w)
{
    int64_t cookie;
    struct schema *fresh;
    bool first = !w->recorder.schema;
    int rc = sqlconn_integer(&w->conn, OWN_SCHEMA_VERSION, &cookie);
    if (rc != SQLITE_OK || (!first && w->recorder.schema->cookie == (uint32_t)cookie))
        return rc;
    rc = schema_read(&w->conn, w->recorder.schema, &fresh);
    if (rc == SQLITE_OK && !first)
        rc = record_foreign_schema(w, fresh);
    if (rc == SQLITE_OK)
        recorder_set_schema(&w->recorder, fresh);
    else
        schema_unref(fresh);
    return rc;
}

int writer_refresh_schema(struct writer *w)
{
    struct schema *fresh, *previous = schema_ref(w->recorder.schema);
    int rc = schema_read(&w->conn, previous, &fresh);
    if (rc == SQLITE_OK) {
        recorder_set_schema(&w->recorder, fresh);
        rc = rows_after_create(&w->recorder, previous);
    }
    schema_unref(previous);
    return rc;
}

/* Takes over the reference. */
static void publish(struct writer *w, struct batch *b, struct schema *schema)
{
    struct published *p = w->published;
    uint64_t seq = atomic_load(&p->seq);
    batch_seal(b, &seq, &w->tx);
    set_published_schema(w, schema);
    atomic_store(&p->seq, seq);
    atomic_fetch_add(&p->commits, b->transaction_count);
    atomic_fetch_add(&p->changes, b->change_count);
    set_turn(w, false);
    if ((b->transaction_count > 0 || b->gap) && w->options->publish)
        w->options->publish(w->options->publish_ctx, b);
    batch_unref(b);
}

/* What came before our own commit. */
static void publish_ready(struct writer *w)
{
    struct batch *b = w->follower.ready;
    struct schema *schema = NULL;
    if (!b)
        return;
    for (uint32_t i = 0; i < b->transaction_count; i++)
        if (b->transactions[i].schema) {
            schema_unref(schema);
            schema = schema_ref(b->transactions[i].schema);
        }
    b = batch_ref(b);
    follower_taken(&w->follower);
    publish(w, b, schema ? schema : w->published->schema);
    schema_unref(schema);
}

/* Tells other threads what seq the state at the follower's place is. */
static void note_place(struct writer *w)
{
    const struct follower *f = &w->follower;
    if (f->active && !f->ready && !f->lost)
        places_note(&w->published->places, f->tracker.log.salt, f->tracker.frame,
            atomic_load(&w->published->seq));
}

void writer_publish(struct writer *w)
{
    struct batch *b = w->batch;
    w->batch = w->recorder.batch = NULL;
    follower_committed(&w->follower, w->recorder.schema);
    publish_ready(w);
    w->base = atomic_load(&w->published->seq);
    set_known(w, w->recorder.schema);
    publish(w, b, w->recorder.schema);
    note_place(w);
}

/* Numbers go on from the published ones, first those of what is ready. */
static int write_journal(struct writer *w)
{
    uint64_t seq = atomic_load(&w->published->seq), tx = w->tx;
    struct batch *ready = w->follower.ready;
    int rc = SQLITE_OK;
    if (ready) {
        batch_stamp(ready);
        rc = journal_write(&w->journal, ready, seq, tx);
        seq += ready->change_count;
        tx += ready->transaction_count - ready->continued;
    }
    if (rc == SQLITE_OK && w->batch) {
        batch_stamp(w->batch);
        rc = journal_write(&w->journal, w->batch, seq, tx);
    }
    return rc;
}

static int commit(struct writer *w)
{
    int rc = write_journal(w);
    if (rc == SQLITE_OK) {
        set_turn(w, true);
        rc = sqlconn_run(&w->conn, OWN_COMMIT);
    }
    if (rc == SQLITE_OK) {
        journal_committed(&w->journal);
        atomic_store(&w->published->past, w->journal.committed.after);
        return rc;
    }
    set_turn(w, false);
    journal_rolled_back(&w->journal);
    return rc;
}

int writer_commit(struct writer *w)
{
    int rc = commit(w);
    if (rc == SQLITE_OK)
        writer_publish(w);
    return rc;
}

/*
 * What the follower has ready is published, with a journal after it was written to that. A lock of
 * another process is in the way: later.
 */
static int hand_on(void *ctx)
{
    struct writer *w = ctx;
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
        int rc = sqlconn_run(&w->conn, OWN_BEGIN);
        if (rc == SQLITE_OK)
            rc = commit(w);
        w->batch = own;
        if (rc != SQLITE_OK) {
            if (!sqlite3_get_autocommit(w->conn.db))
                sqlconn_run(&w->conn, OWN_ROLLBACK);
            return (rc & 0xff) == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_IO;
        }
    }
    publish_ready(w);
    return STATUS_OK;
}

static int announce_gap(void *ctx, const char *reason)
{
    struct writer *w = ctx;
    struct batch *b = batch_new(0);
    if (!b)
        return STATUS_NOMEM;
    b->gap = reason;
    publish(w, b, w->published->schema);
    return STATUS_OK;
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
    set_known(w, schema);
    recorder_set_schema(&w->recorder, schema_ref(schema));
}

static void passed(void *ctx)
{
    note_place(ctx);
}

static bool lock(void *ctx)
{
    struct writer *w = ctx;
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
    int64_t timeout_ms = w->conn.busy_timeout_ms;
    int rc = SQLITE_BUSY;
    w->conn.busy_timeout_ms = 0;
    for (int i = 0; i < LOCK_TRIES && (rc & 0xff) == SQLITE_BUSY; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        rc = sqlconn_run(&w->conn, OWN_BEGIN);
    }
    w->conn.busy_timeout_ms = timeout_ms;
    return rc == SQLITE_OK;
}

static void unlock(void *ctx)
{
    struct writer *w = ctx;
    sqlconn_run(&w->conn, OWN_ROLLBACK);
}

int writer_open_follower(struct writer *w, const char *path, const atomic_bool *closing)
{
    static const struct follower_ops ops = {
        .known = known,
        .set_known = follow_known,
        .hand_on = hand_on,
        .gap = announce_gap,
        .passed = passed,
        .lock = lock,
        .unlock = unlock,
    };
    return follower_open(&w->follower, path, true, closing, &ops, w);
}

void writer_follow(struct writer *w)
{
    follower_start(&w->follower, w->conn.db);
    atomic_store(&w->published->following, true);
}

int writer_begin(struct writer *w)
{
    for (int i = 0;; i++) {
        int rc = sqlconn_run(&w->conn, OWN_BEGIN);
        int late = rc == SQLITE_OK ? follower_catch_up(&w->follower, i == 2) : 0;
        if (rc == SQLITE_OK && late == 0)
            rc = writer_check_schema(w);
        if (rc == SQLITE_OK && late == 0)
            return rc;
        if (!sqlite3_get_autocommit(w->conn.db))
            sqlconn_run(&w->conn, OWN_ROLLBACK);
        if (rc != SQLITE_OK || late < 0)
            return rc != SQLITE_OK ? rc : SQLITE_NOMEM;
        while (follower_run(&w->follower))
            ;
    }
}

int writer_follow_schema(struct writer *w)
{
    int rc = writer_new_batch(w);
    if (rc == SQLITE_OK)
        rc = writer_begin(w);
    if (rc == SQLITE_OK)
        rc = writer_commit(w);
    if (rc != SQLITE_OK) {
        if (!sqlite3_get_autocommit(w->conn.db))
            sqlconn_run(&w->conn, OWN_ROLLBACK);
        if (w->recorder.schema != w->known)
            recorder_set_schema(&w->recorder, schema_ref(w->known));
    }
    return rc;
}

bool writer_trim(struct writer *w)
{
    if (!journal_overdue(&w->journal) || journal_trim(&w->journal) != SQLITE_OK)
        return false;
    atomic_store(&w->published->past, w->journal.committed.after);
    return journal_overdue(&w->journal);
}

bool writer_hid_table(const struct writer *w)
{
    for (int i = 0; i < w->before->table_count; i++) {
        const struct table *now = schema_find_id(w->recorder.schema, w->before->tables[i]->id);
        if (now && now->internal && !w->before->tables[i]->internal)
            return true;
    }
    return false;
}
