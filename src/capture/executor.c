#include "capture/executor_parts.h"

#include "base/clock.h"
#include "base/status.h"
#include "capture/mirror.h"
#include "capture/result.h"
#include "capture/settle.h"
#include "capture/sqlerror.h"
#include "capture/sqltext.h"
#include "capture/unit.h"
#include <limits.h>
#include <string.h>

#define CHECKPOINT_WAIT_MS 50

enum step executor_refuse(struct run *x, const char *code, const char *message)
{
    sqlerror_set(&x->request->error, code, "%s", message);
    return STEP_FAILED;
}

enum step executor_sqlite_failed(struct run *x, int rc)
{
    struct sqlconn *c = x->from ? x->from : &x->w->conn;
    sqlerror_from(&x->request->error, c, rc, x->pos, x->w->options->query_timeout_ms);
    return STEP_FAILED;
}

enum step executor_nomem(struct run *x)
{
    x->request->error.sqlite_code = SQLITE_NOMEM;
    return executor_refuse(x, "SQL_ERROR", "out of memory");
}

/* Rows are missing from the batch; nothing of this unit may be committed. */
static enum step capture_failed(struct run *x)
{
    struct writer *w = x->w;
    switch (w->recorder.failed) {
    case RECORDER_FULL:
        /* Others may have filled the batch: by itself there may be room. */
        if (!w->alone && w->mark.change_count > 0)
            return STEP_ALONE;
        sqlerror_set(&x->request->error, "TOO_LARGE",
            "the transaction changes more than %zu bytes of rows, which --max-transaction limits: "
            "split it into smaller ones",
            w->options->max_transaction);
        return STEP_FAILED;
    case RECORDER_STALE:
        return executor_refuse(x, "SQL_ERROR",
            "another process changed the schema while the statement ran; it was rolled back: try "
            "again");
    case RECORDER_READ:
        if (w->conn.stopped != STOP_NONE && w->conn.stopped != STOP_CAPTURE)
            return executor_sqlite_failed(x, SQLITE_INTERRUPT);
        if (w->recorder.sqlite_code)
            return executor_sqlite_failed(x, w->recorder.sqlite_code);
        return executor_refuse(
            x, "SQL_ERROR", "a changed row could not be read; the statement was rolled back");
    default:
        return executor_nomem(x);
    }
}

static enum step answer_failed(struct run *x)
{
    if (buf_error(&x->request->json) == STATUS_NOMEM)
        return executor_nomem(x);
    sqlerror_set(&x->request->error, "TOO_LARGE",
        "the result is larger than %zu bytes: ask for fewer rows or columns (LIMIT, WHERE)",
        x->request->json.max);
    return STEP_FAILED;
}

static bool is_control(const struct run *x)
{
    return x->p->report.control != CONTROL_NONE;
}

void executor_end_answer(struct run *x, int64_t changes)
{
    int64_t rowid = sqlite3_last_insert_rowid(x->job->sql->db);
    result_counts(&x->request->json, changes, rowid);
    x->request->last_rowid = rowid;
    x->request->changes = x->request->transaction ? x->request->changes + changes : changes;
}

static enum step follow_schema(struct run *x)
{
    struct writer *w = x->w;
    if (!x->p->report.ddl || !w->open || w->autocommit)
        return STEP_NEXT;
    int rc = writer_refresh_schema(w);
    if (rc != SQLITE_OK)
        return w->recorder.failed ? capture_failed(x) : executor_sqlite_failed(x, rc);
    if (writer_hid_table(w))
        return executor_refuse(
            x, "FORBIDDEN", "names that begin with rowtap_ are kept for the server's own tables");
    return STEP_NEXT;
}

/* Steps the statement and follows up on what it did to the schema. */
static enum step step_statement(struct run *x)
{
    struct writer *w = x->w;
    buf_truncate(&x->request->json, x->start);
    sqlconn_limit(x->job->sql, w->options->query_timeout_ms, &x->request->cancel);
    int rc = result_run(&x->request->json, x->p);
    x->request->rows += x->p->rows;
    enum step step;
    if (w->open && w->recorder.failed)
        step = capture_failed(x);
    else if (rc != SQLITE_OK)
        step = executor_sqlite_failed(x, rc);
    else if (buf_error(&x->request->json))
        step = answer_failed(x);
    else
        step = follow_schema(x);
    sqlconn_unlimit(x->job->sql);
    bool counted = x->p->report.dml && !x->p->report.ddl && !x->p->read_only;
    if (step == STEP_NEXT)
        executor_end_answer(x, counted ? sqlite3_changes64(x->job->sql->db) : 0);
    return step;
}

enum step executor_commit_unit(struct run *x)
{
    int rc = unit_commit(x->w);
    if (rc == SQLITE_OK) {
        x->job->wrote = true;
        return STEP_NEXT;
    }
    if (x->w->recorder.failed)
        return capture_failed(x);
    if (rc == SQLITE_CONSTRAINT_FOREIGNKEY) {
        x->request->error.sqlite_code = rc;
        return executor_refuse(x, "SQL_ERROR", "FOREIGN KEY constraint failed");
    }
    return executor_sqlite_failed(x, rc);
}

/*
 * OR FAIL and RAISE(FAIL) keep the rows changed before the error. SQLite's count of changes tells,
 * unless only triggers changed any.
 */
enum kept { KEPT_NOTHING, KEPT_ROWS, KEPT_UNKNOWN };

static enum kept rows_kept(struct run *x)
{
    const struct sql_error *e = &x->request->error;
    struct writer *w = x->w;
    if (x->request->policy || (e->sqlite_code & 0xff) != SQLITE_CONSTRAINT || !x->p->report.dml ||
        x->p->report.ddl || w->recorder.failed || sqlite3_get_autocommit(w->conn.db))
        return KEPT_NOTHING;
    if (sqlite3_changes64(w->conn.db) > 0)
        return KEPT_ROWS;
    if (w->batch->change_count == w->mark.change_count)
        return KEPT_NOTHING;
    if (sqltext_has_word(x->sql + x->pos, x->p->used, "FAIL") || writer_mentions_fail(w))
        return KEPT_UNKNOWN;
    return KEPT_NOTHING;
}

/*
 * Again, in a transaction, into which the journal can be written: SQLite would have kept `changes`
 * changes of the failing statement. If it takes another course now, nothing is kept.
 */
static enum step run_kept(struct run *x, uint32_t changes)
{
    struct writer *w = x->w;
    sqlerror_init(&x->request->error);
    int rc = unit_begin(w, true);
    if (rc != SQLITE_OK)
        return executor_sqlite_failed(x, rc);
    enum step step = step_statement(x);
    struct sql_error error = x->request->error;
    bool same = step == STEP_FAILED && !w->recorder.failed && !sqlite3_get_autocommit(w->conn.db) &&
                w->batch->change_count - w->mark.change_count == changes;
    if ((step == STEP_NEXT || same) && executor_commit_unit(x) == STEP_NEXT) {
        x->request->error = error;
        return step;
    }
    unit_rollback(w);
    return STEP_FAILED;
}

/* Nobody writes meanwhile: so it soon says that it is busy, where somebody else is in its way. */
static enum step checkpoint(struct run *x)
{
    struct sqlconn *c = &x->w->conn;
    int64_t wait_ms = c->busy_timeout_ms;
    if (wait_ms > CHECKPOINT_WAIT_MS)
        c->busy_timeout_ms = CHECKPOINT_WAIT_MS;
    settle_before_checkpoint(&x->w->follower);
    enum step step = step_statement(x);
    c->busy_timeout_ms = wait_ms;
    return step;
}

/* Alone and without a transaction around it SQLite itself decides what is kept. */
static enum step run_autocommit(struct run *x)
{
    sqlerror_init(&x->request->error);
    int rc = unit_begin_autocommit(x->w, x->p->report.vacuum);
    if (rc != SQLITE_OK)
        return executor_sqlite_failed(x, rc);
    bool copies = x->p->report.alone && !x->p->report.vacuum;
    enum step step = copies ? checkpoint(x) : step_statement(x);
    bool vetoed = x->w->vetoed;
    uint32_t changes = x->w->batch->change_count;
    if (unit_end_autocommit(x->w) && !x->p->report.vacuum)
        x->job->wrote = true;
    if (copies)
        settle_after_checkpoint(&x->w->follower);
    return vetoed ? run_kept(x, changes) : step;
}

static enum step fail_single(struct run *x)
{
    enum kept kept = rows_kept(x);
    struct sql_error error = x->request->error;
    if (kept == KEPT_ROWS && executor_commit_unit(x) == STEP_NEXT) {
        x->request->error = error;
        return STEP_FAILED;
    }
    unit_rollback(x->w);
    if (kept != KEPT_UNKNOWN || x->w->lost)
        return STEP_FAILED;
    return x->w->alone ? run_autocommit(x) : STEP_ALONE;
}

/* A statement outside of any transaction of the user's. */
static enum step run_single(struct run *x)
{
    if (x->p->report.alone)
        return x->w->alone ? run_autocommit(x) : STEP_ALONE;
    /* A mirror's tables are read one by one: alone there is no transaction yet. */
    bool whole = x->request->policy && x->w->alone;
    if (x->p->read_only && !whole)
        return step_statement(x);
    int rc = unit_begin(x->w, true);
    if (rc != SQLITE_OK)
        return executor_sqlite_failed(x, rc);
    enum step step = step_statement(x);
    if (step == STEP_FAILED)
        return fail_single(x);
    if (step == STEP_NEXT)
        step = executor_commit_unit(x);
    if (step != STEP_NEXT)
        unit_rollback(x->w);
    return step;
}

static enum step run_prepared(struct run *x)
{
    int rc = params_bind(&x->params, x->p);
    if (rc == SQLITE_RANGE)
        return executor_refuse(x, "INVALID_FORMAT", "a parameter has no value");
    if (rc != SQLITE_OK)
        return executor_sqlite_failed(x, rc);
    atomic_fetch_add_explicit(&x->w->published->statements, 1, memory_order_relaxed);
    x->w->fk_deferred |= x->p->report.writer;
    if (is_control(x))
        return executor_control(x);
    return x->w->open ? step_statement(x) : run_single(x);
}

/*
 * The next statement. In a mirror there is no transaction: what begins or ends one, or a savepoint,
 * is the file's.
 */
static enum step prepare(struct run *x)
{
    const char *sql = x->sql + x->pos;
    x->from = x->job->sql;
    int rc = statement_cache_get(x->from, sql, x->len - x->pos, &x->p);
    if (rc == SQLITE_OK && x->p && x->from != &x->w->conn && is_control(x)) {
        statement_cache_put(x->from, x->p);
        x->from = &x->w->conn;
        rc = statement_cache_get(x->from, sql, x->len - x->pos, &x->p);
    }
    if (rc != SQLITE_OK) {
        sqlerror_from(&x->request->error, x->from, rc, x->pos, x->w->options->query_timeout_ms);
        return STEP_FAILED;
    }
    if (!x->p || x->from == &x->w->conn || mirror_statement(x->from, x->p, sql, x->p->used))
        return STEP_NEXT;
    return executor_sqlite_failed(x, SQLITE_AUTH);
}

/* Runs the statements of one text, in order. */
static enum step run_text(struct writer *w, struct job *j, const struct sql_statement *s)
{
    struct run x = {.w = w, .job = j, .request = j->request, .sql = s->sql, .len = s->len};
    enum step step = STEP_NEXT;
    x.start = j->request->transaction ? j->request->json.len : 0;
    int known = statement_cache_params(j->sql, s->sql, s->len);
    int status = params_init(&x.params, s, known, &j->request->error);
    if (status < 0)
        step = status == STATUS_NOMEM ? executor_nomem(&x) : STEP_FAILED;
    while (step == STEP_NEXT && x.pos < x.len) {
        step = prepare(&x);
        if (!x.p)
            break;
        if (step == STEP_NEXT)
            step = run_prepared(&x);
        x.pos += x.p->used;
        statement_cache_put(x.from, x.p);
        if (step == STEP_NEXT && !j->request->transaction)
            j->index++;
        if (w->lost || (!w->alone && sqlite3_get_autocommit(w->conn.db)))
            w->lost = true;
    }
    params_fini(&x.params);
    return step;
}

static bool no_statement(const struct sql_request *r, int *index)
{
    for (int i = 0; i < r->statement_count; i++) {
        bool blank = sqltext_blank(r->statements[i].sql, r->statements[i].len);
        *index = i;
        if (blank == r->transaction)
            return blank;
    }
    return !r->transaction || r->statement_count == 0;
}

/* What can be said without running anything. */
static enum step check_texts(struct run *x)
{
    struct sql_request *r = x->request;
    struct job *j = x->job;
    if (no_statement(r, &j->index))
        return executor_refuse(x, "INVALID_FORMAT", "there is no statement in sql");
    for (int i = 0; i < r->statement_count; i++) {
        const struct sql_statement *s = &r->statements[i];
        j->index = i;
        if (s->len > INT_MAX / 2)
            return executor_refuse(x, "TOO_LARGE", "sql is too long");
        if (memchr(s->sql, 0, s->len))
            return executor_refuse(x, "INVALID_FORMAT", "sql holds a NUL character");
    }
    j->index = 0;
    if (atomic_load_explicit(&r->cancel, memory_order_relaxed))
        return executor_refuse(x, "QUERY_CANCELLED", "the statement was cancelled before it began");
    return STEP_NEXT;
}

static enum step run_script(struct writer *w, struct job *j)
{
    struct sql_request *r = j->request;
    struct run x = {.w = w, .job = j, .request = r};
    enum step step = STEP_NEXT;
    for (int i = 0; i < r->statement_count && step == STEP_NEXT && !w->lost; i++)
        step = run_text(w, j, &r->statements[i]);
    if (step == STEP_NEXT && w->open) {
        j->index--; /* the last one */
        step = executor_refuse(
            &x, "SQL_ERROR", "the script left a transaction open; it was rolled back: add COMMIT");
    }
    return step;
}

static enum step run_transaction(struct writer *w, struct job *j)
{
    struct sql_request *r = j->request;
    struct run x = {.w = w, .job = j, .request = r};
    int rc = unit_begin(w, false);
    if (rc != SQLITE_OK)
        return executor_sqlite_failed(&x, rc);
    buf_puts(&r->json, "{\"results\":[");
    enum step step = STEP_NEXT;
    for (int i = 0; i < r->statement_count && step == STEP_NEXT && !w->lost; i++) {
        j->index = i;
        if (i > 0)
            buf_putc(&r->json, ',');
        step = run_text(w, j, &r->statements[i]);
        if (step == STEP_NEXT)
            buf_putc(&r->json, '}');
    }
    if (step == STEP_NEXT) {
        buf_putc(&r->json, ']');
        j->index = -1;
        step = executor_commit_unit(&x);
    }
    return step;
}

void executor_reset(struct job *j)
{
    struct sql_request *r = j->request;
    buf_reset(&r->json);
    sqlerror_init(&r->error);
    r->changes = r->last_rowid = 0;
    r->rows = 0;
    r->began_ns = clock_mono_ns();
    r->run_ns = 0;
    j->wrote = false;
    j->index = 0;
    j->begun_ns = r->posted_ns ? r->posted_ns : clock_mono_ns();
}

/* On which connection it runs. */
static enum step choose(struct run *x)
{
    struct writer *w = x->w;
    int rc = SQLITE_OK;
    x->job->sql = &w->conn;
    if (!x->request->policy)
        return STEP_NEXT;
    x->job->sql = mirror_enter(&w->conn, w->recorder.schema, x->request, &rc);
    return x->job->sql ? STEP_NEXT : executor_sqlite_failed(x, rc);
}

/* The error is that of one of several statements. */
static bool names_statement(const struct job *j)
{
    const struct sql_request *r = j->request;
    if (j->index < 0 || r->statement_count == 0)
        return false;
    return r->statement_count > 1 || !sqltext_single(r->statements[0].sql, r->statements[0].len);
}

static enum step check_answer(struct run *x, enum step step)
{
    return step == STEP_NEXT && buf_error(&x->request->json) ? answer_failed(x) : step;
}

enum outcome executor_write(struct writer *w, struct job *j)
{
    struct sql_request *r = j->request;
    struct run x = {.w = w, .job = j, .request = r};
    executor_reset(j);
    w->origin = r->origin;
    w->receipt = r->receipt;
    w->lost = false;
    w->first_unit = !w->alone;
    r->json.max = w->options->max_result;
    sqlite3_set_last_insert_rowid(w->conn.db, 0);
    enum step step = check_texts(&x);
    if (step == STEP_NEXT)
        step = choose(&x);
    if (step == STEP_NEXT)
        step = r->transaction ? run_transaction(w, j) : run_script(w, j);
    if (j->sql != &w->conn)
        mirror_leave(j->sql);
    j->sql = NULL;
    if (w->open)
        unit_rollback(w);
    if (!w->lost)
        w->lost = unit_check_keys_at_once(w) != SQLITE_OK && !w->alone;
    step = check_answer(&x, step);
    r->run_ns = clock_mono_ns() - r->began_ns;
    if (step == STEP_FAILED && names_statement(j))
        r->error.statement = j->index;
    if (w->lost && !w->alone)
        return OUTCOME_LOST;
    return step == STEP_ALONE ? OUTCOME_ALONE : OUTCOME_DONE;
}

void executor_finish(struct job *j, uint64_t seq)
{
    struct sql_request *r = j->request;
    r->seq = seq;
    if (!r->error.code[0]) {
        r->json.max = 0;
        result_end(&r->json, seq, clock_mono_ns() - j->begun_ns);
        if (!buf_error(&r->json))
            return;
        sqlerror_set(&r->error, "SQL_ERROR", "out of memory for the answer; the work was done");
    }
    buf_reset(&r->json);
    if (j->wrote) {
        r->error.has_seq = true;
        r->error.seq = seq;
    }
}
