#include "capture/writer_parts.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "capture/offline.h"
#include "capture/rows_after.h"
#include "capture/schema_diff.h"
#include "capture/schema_read.h"
#include "capture/settle.h"
#include "capture/unit.h"
#include <string.h>
#include <time.h>

/*
 * An autocommit unit is closed here, while SQLite can still be told to roll it back: so it is where
 * there is a journal, which must not be written from this hook; and where others have committed
 * since it began, perhaps another schema.
 */
static int on_commit(void *ctx)
{
    struct writer *w = ctx;
    if (!w->open || !w->autocommit)
        return 0;
    w->committed = unit_close(w) == SQLITE_OK;
    w->vetoed = w->committed && w->batch->change_count > 0 &&
                (w->journal.options.enabled || follower_is_behind(&w->follower));
    if (w->vetoed)
        w->committed = false;
    writer_set_turn(w, w->committed);
    return !w->committed;
}

static void on_rollback(void *ctx)
{
    struct writer *w = ctx;
    w->committed = false;
    writer_set_turn(w, false);
    follower_let_go(&w->follower);
}

int writer_open(struct writer *w, const struct database_options *options,
    struct published *published, const char *path, const atomic_bool *closing)
{
    *w = (struct writer){.options = options, .published = published};
    int rc = sqlconn_open(&w->conn, path, false, options->busy_timeout_ms, closing);
    if (rc != SQLITE_OK)
        return rc;
    /* The pages that a checkpoint would overwrite may still be needed. */
    if (options->external)
        sqlite3_wal_autocheckpoint(w->conn.db, 0);
    recorder_init(&w->recorder, &w->conn);
    sqlite3_commit_hook(w->conn.db, on_commit, w);
    sqlite3_rollback_hook(w->conn.db, on_rollback, w);
    return SQLITE_OK;
}

void writer_close(struct writer *w)
{
    int64_t time_ms = clock_wall_ms();
    char *path = NULL;
    if (writer_leave_place(w, time_ms))
        path = mem_strdup(sqlite3_db_filename(w->conn.db, "main"));
    batch_unref(w->batch);
    follower_close(&w->follower);
    recorder_fini(&w->recorder);
    schema_unref(w->known);
    journal_close(&w->journal);
    sqlconn_close(&w->conn);
    if (path)
        offline_seal(path, time_ms);
    mem_free(path);
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

/* Those who commit all the time leave the lock for moments, which are looked for often. */
#define RUSH_PATIENCE_MS 3

/*
 * For a while: others may commit faster than they can be followed, and then somebody has to keep
 * the log from growing, too.
 */
static void follow_others(struct writer *w)
{
    int64_t until_ns = clock_mono_ns() + WRITER_PATIENCE_MS * 1000000;
    bool more = true;
    while (more && clock_mono_ns() < until_ns) {
        more = follower_run(&w->follower);
        more |= settle_run(&w->follower, true);
    }
}

/* Follows the log while it waits. */
static int begin_patiently(struct writer *w)
{
    int64_t timeout = w->conn.busy_timeout_ms, began = clock_mono_ns(), waited = 0;
    if (!w->follower.active)
        return sqlconn_run(&w->conn, OWN_BEGIN);
    while (true) {
        int64_t left = timeout - waited;
        int64_t patience = follower_in_rush(&w->follower) ? RUSH_PATIENCE_MS : WRITER_PATIENCE_MS;
        int rc = writer_begin_within(w, left < patience ? left : patience);
        waited = (clock_mono_ns() - began) / 1000000;
        if ((rc & 0xff) != SQLITE_BUSY || waited >= timeout || atomic_load(w->conn.closing))
            return rc;
        follow_others(w);
    }
}

int writer_begin(struct writer *w)
{
    for (int i = 0;; i++) {
        int rc = begin_patiently(w);
        int late = rc == SQLITE_OK ? follower_catch_up(&w->follower, i >= 2) : 0;
        if (rc == SQLITE_OK && late == 0)
            rc = writer_check_schema(w);
        if (rc == SQLITE_OK && late == 0)
            return rc;
        if (!sqlite3_get_autocommit(w->conn.db))
            sqlconn_run(&w->conn, OWN_ROLLBACK);
        if (rc != SQLITE_OK || late < 0)
            return rc != SQLITE_OK ? rc : SQLITE_NOMEM;
        follow_others(w);
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
    if (!journal_overdue(&w->journal) || w->follower.ready)
        return false;
    struct journal_place place = writer_place(w);
    place.writes = w->journal.place.writes;
    w->journal.place = place;
    if (journal_trim(&w->journal) != SQLITE_OK)
        return false;
    writer_note_past(w);
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

bool writer_mentions_fail(struct writer *w)
{
    sqlite3_stmt *s;
    bool found = true;
    struct statement_report *report = w->conn.auth.report;
    w->conn.auth.report = NULL;
    if (sqlconn_prepare(&w->conn, &s,
            "SELECT 1 FROM main.sqlite_master WHERE type='trigger' AND sql LIKE '%%fail%%' "
            "LIMIT 1") == SQLITE_OK)
        found = sqlite3_step(s) != SQLITE_DONE;
    sqlite3_finalize(s);
    w->conn.auth.report = report;
    return found;
}
