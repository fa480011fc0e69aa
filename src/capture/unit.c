#include "capture/unit.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/rows_after.h"
#include "capture/schema_diff.h"

#define MAX_SAVEPOINTS 1000

static void pop_savepoints(struct writer *w, int count)
{
    while (w->savepoint_count > count) {
        struct user_savepoint *s = &w->savepoints[--w->savepoint_count];
        mem_free(s->name);
        schema_unref(s->schema);
    }
    if (count == 0) {
        mem_free(w->savepoints);
        w->savepoints = NULL;
        w->savepoint_cap = 0;
    }
}

static void enter(struct writer *w, bool by_statement)
{
    w->open = true;
    w->by_statement = by_statement;
    w->by_savepoint = w->autocommit = w->committed = w->vetoed = false;
    w->recorder.failed = RECORDER_OK;
    w->recorder.sqlite_code = 0;
    w->recorder.incomplete = NULL;
    w->mark = batch_mark(w->batch);
    w->before = schema_ref(w->recorder.schema);
}

static void leave(struct writer *w)
{
    pop_savepoints(w, 0);
    schema_unref(w->before);
    w->before = NULL;
    w->open = false;
    w->autocommit = false;
    w->first_unit = false;
    w->recorder.failed = RECORDER_OK;
    w->recorder.incomplete = NULL;
}

/*
 * Back to an earlier schema. Alone that is the published one: another process's DDL that was seen
 * as the unit began goes with its batch, and has to be seen again.
 */
static void forget_schema(struct writer *w, struct schema *schema)
{
    if (w->recorder.schema != schema)
        recorder_set_schema(&w->recorder, schema_ref(schema));
}

static int begin_alone(struct writer *w)
{
    int rc = writer_new_batch(w);
    return rc == SQLITE_OK ? writer_begin(w) : rc;
}

int unit_begin(struct writer *w, bool by_statement)
{
    int rc = w->alone        ? begin_alone(w)
             : w->first_unit ? SQLITE_OK
                             : sqlconn_run(&w->conn, OWN_UNIT);
    if (rc == SQLITE_OK)
        enter(w, by_statement);
    return rc;
}

int unit_begin_autocommit(struct writer *w, bool vacuum)
{
    int rc = begin_alone(w);
    if (rc == SQLITE_OK && (rc = writer_commit(w)) != SQLITE_OK) {
        if (!sqlite3_get_autocommit(w->conn.db))
            sqlconn_run(&w->conn, OWN_ROLLBACK);
        forget_schema(w, w->known);
    }
    if (rc == SQLITE_OK)
        rc = writer_new_batch(w);
    if (rc == SQLITE_OK && vacuum)
        rc = vacuum_begin(&w->vacuum, w);
    if (rc != SQLITE_OK)
        return rc;
    enter(w, true);
    w->autocommit = true;
    return SQLITE_OK;
}

int unit_close(struct writer *w)
{
    struct schema_diff diff = {
        .batch = w->batch,
        .first = w->mark.change_count,
        .before = w->before,
        .after = w->recorder.schema,
        .default_value = rows_after_default,
        .ctx = &w->recorder,
    };
    if (w->recorder.failed)
        return SQLITE_ABORT;
    uint32_t transactions = w->batch->transaction_count;
    int status = schema_diff_finish(&diff);
    if (status == STATUS_OK)
        status = batch_end_transaction(
            w->batch, w->origin, w->before == w->recorder.schema ? NULL : w->recorder.schema);
    if (status == STATUS_OK && w->receipt && w->batch->transaction_count > transactions)
        batch_set_receipt(w->batch, w->receipt);
    if (status == STATUS_OK)
        return SQLITE_OK;
    w->recorder.failed = batch_full(w->batch) ? RECORDER_FULL : RECORDER_NOMEM;
    return SQLITE_ABORT;
}

/* A nested RELEASE does not check them, and COMMIT would fail for the whole group. */
static bool deferred_keys_violated(struct writer *w)
{
    int violated = 0, high;
    sqlite3_db_status(w->conn.db, SQLITE_DBSTATUS_DEFERRED_FKS, &violated, &high, 0);
    return violated != 0;
}

/* Not without need: the PRAGMA makes SQLite prepare every statement of the connection again. */
int unit_check_keys_at_once(struct writer *w)
{
    int rc = w->fk_deferred ? sqlconn_run(&w->conn, OWN_FK_NOW) : SQLITE_OK;
    if (rc == SQLITE_OK)
        w->fk_deferred = false;
    return rc;
}

int unit_commit(struct writer *w)
{
    if (deferred_keys_violated(w))
        return SQLITE_CONSTRAINT_FOREIGNKEY;
    int rc = unit_close(w);
    if (rc != SQLITE_OK)
        return rc;
    if (w->alone)
        rc = writer_commit(w);
    else if (!w->first_unit)
        rc = sqlconn_run(&w->conn, OWN_UNIT_RELEASE);
    if (rc == SQLITE_OK)
        rc = w->alone ? SQLITE_OK : unit_check_keys_at_once(w);
    if (rc == SQLITE_OK)
        leave(w);
    return rc;
}

static void rollback_in_group(struct writer *w)
{
    if (sqlite3_get_autocommit(w->conn.db)) {
        w->lost = true;
        return;
    }
    int rc = sqlconn_run(&w->conn, w->first_unit ? OWN_JOB_ROLLBACK : OWN_UNIT_ROLLBACK);
    if (rc == SQLITE_OK && !w->first_unit)
        rc = sqlconn_run(&w->conn, OWN_UNIT_RELEASE);
    if (rc == SQLITE_OK)
        rc = unit_check_keys_at_once(w);
    if (rc != SQLITE_OK)
        w->lost = true;
}

void unit_rollback(struct writer *w)
{
    if (!w->alone)
        rollback_in_group(w);
    else if (!sqlite3_get_autocommit(w->conn.db))
        sqlconn_run(&w->conn, OWN_ROLLBACK);
    if (w->batch)
        batch_rewind(w->batch, &w->mark);
    forget_schema(w, w->alone ? w->known : w->before);
    leave(w);
}

bool unit_end_autocommit(struct writer *w)
{
    bool committed = w->committed;
    if (committed) {
        /*
         * A statement that failed, and yet committed what it did before (RAISE(FAIL)), leaves the
         * WAL hook to the next one; and the follower must hear that this commit was our own.
         */
        if (sqlconn_run(&w->conn, OWN_SCHEMA_VERSION) != SQLITE_OK)
            w->follower.lost = w->follower.active;
        writer_publish(w);
    }
    leave(w);
    vacuum_end(&w->vacuum, w);
    return committed;
}

int unit_savepoint(struct writer *w, const char *name)
{
    if (w->savepoint_count == MAX_SAVEPOINTS)
        return SQLITE_TOOBIG;
    if (w->savepoint_count == w->savepoint_cap) {
        int cap = w->savepoint_cap ? w->savepoint_cap * 2 : 4;
        void *grown = mem_realloc(w->savepoints, (size_t)cap * sizeof(*w->savepoints));
        if (!grown)
            return SQLITE_NOMEM;
        w->savepoints = grown;
        w->savepoint_cap = cap;
    }
    char *copy = mem_strdup(name);
    if (!copy)
        return SQLITE_NOMEM;
    w->savepoints[w->savepoint_count++] = (struct user_savepoint){
        .name = copy,
        .mark = batch_mark(w->batch),
        .schema = schema_ref(w->recorder.schema),
    };
    return SQLITE_OK;
}

/* SQLite found it, so it is there: the innermost of that name. */
static int find_savepoint(const struct writer *w, const char *name)
{
    int at = w->savepoint_count - 1;
    while (at >= 0 && text_casecmp(w->savepoints[at].name, name) != 0)
        at--;
    return at;
}

void unit_release(struct writer *w, const char *name)
{
    int at = find_savepoint(w, name);
    if (at >= 0)
        pop_savepoints(w, at);
}

void unit_rollback_to(struct writer *w, const char *name)
{
    int at = find_savepoint(w, name);
    if (at < 0)
        return;
    pop_savepoints(w, at + 1);
    struct user_savepoint *s = &w->savepoints[at];
    batch_rewind(w->batch, &s->mark);
    if (w->recorder.schema != s->schema)
        recorder_set_schema(&w->recorder, schema_ref(s->schema));
}
