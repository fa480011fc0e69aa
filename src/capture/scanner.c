#include "capture/scanner.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/moment.h"
#include "capture/table_rows.h"
#include "capture/values.h"
#include <string.h>
#include <time.h>

/* A page reads for so long at most, so that scans take turns. */
#define PAGE_NS 5000000
/* Attempts to begin between two commits, with pauses of up to so long. */
#define TRIES 12
#define PAUSE_NS 200000

/* More conditions are not looked at, nor those that would make the text longer. */
#define MAX_CONDITIONS 32
#define MAX_TEXT 16384

static int status_of(struct scanner *c, int rc)
{
    int status = (rc & 0xff) == SQLITE_NOMEM ? STATUS_NOMEM : STATUS_IO;
    if (c->conn.limited && (c->conn.stopped == STOP_CLOSING || c->conn.stopped == STOP_CANCEL))
        return STATUS_CLOSED;
    if (status == STATUS_IO)
        log_error("a snapshot cannot be read: %s (SQLite code %d)", sqlite3_errmsg(c->conn.db), rc);
    return status;
}

static int open_connection(struct scanner *c, const struct scanner_options *options)
{
    if (c->conn.db)
        return STATUS_OK;
    int rc = sqlconn_open(&c->conn, options->path, true, 0, options->closing);
    int status = rc == SQLITE_OK ? STATUS_OK : status_of(c, rc);
    if (status < 0)
        sqlconn_close(&c->conn);
    return status;
}

/* A schema that another process made and the writer has not seen has another cookie. */
static int check_schema(struct scanner *c, struct scan *s)
{
    int64_t cookie;
    int rc = sqlconn_integer(&c->conn, OWN_SCHEMA_VERSION, &cookie);
    if (rc != SQLITE_OK)
        return status_of(c, rc);
    return (uint32_t)cookie == s->schema->cookie ? STATUS_OK : STATUS_CONFLICT;
}

static int begin(struct scanner *c, struct published *p, struct scan *s)
{
    bool exact = false;
    for (int i = 0; i < TRIES; i++) {
        int rc = moment_begin(&c->conn, p, &s->seq, &s->schema, &exact);
        if (rc == SQLITE_OK && exact)
            return check_schema(c, s);
        if (rc == SQLITE_OK)
            sqlconn_run(&c->conn, OWN_ROLLBACK);
        else if ((rc & 0xff) != SQLITE_BUSY)
            return status_of(c, rc);
        struct timespec pause = {.tv_nsec = 1000 + (long)(random_u64() % PAUSE_NS)};
        nanosleep(&pause, NULL);
    }
    return SCANNER_BUSY;
}

int scanner_open(struct scanner *c, const struct scanner_options *options, struct scan *s)
{
    int status = open_connection(c, options);
    s->schema = NULL;
    if (status == STATUS_OK) {
        sqlconn_limit(&c->conn, 0, &s->cancel);
        status = begin(c, options->published, s);
        sqlconn_unlimit(&c->conn);
    }
    c->scan = s;
    c->opened_ms = clock_mono_ms();
    if (status == STATUS_OK)
        return status;
    scanner_release(c);
    schema_unref(s->schema);
    s->schema = NULL;
    return status;
}

void scanner_release(struct scanner *c)
{
    sqlite3_finalize(c->select);
    mem_free(c->row);
    if (c->conn.db && !sqlite3_get_autocommit(c->conn.db))
        sqlconn_run(&c->conn, OWN_ROLLBACK);
    c->select = NULL;
    c->row = NULL;
    c->scan = NULL;
    c->on_row = false;
}

void scanner_fini(struct scanner *c)
{
    scanner_release(c);
    sqlconn_close(&c->conn);
}

/* The conditions of `where` that are in use. */
struct conditions {
    const char *text[MAX_CONDITIONS];
    int count;
};

static void put_conditions(sqlite3_str *sql, const struct conditions *w)
{
    for (int i = 0; i < w->count; i++)
        sqlite3_str_appendf(sql, "%s(%s)", i ? " AND " : " WHERE ", w->text[i]);
}

static int prepare(
    struct scanner *c, const char *before, const struct conditions *w, sqlite3_stmt **stmt)
{
    sqlite3_str *sql = sqlite3_str_new(c->conn.db);
    sqlite3_str_appendall(sql, before);
    table_rows_put_select(sql, c->scan->table, true);
    put_conditions(sql, w);
    char *text = sqlite3_str_finish(sql);
    *stmt = NULL;
    int rc = text ? sqlconn_prepare(&c->conn, stmt, "%s", text) : SQLITE_NOMEM;
    sqlite3_free(text);
    return rc;
}

/* SQLite's words for how it would find the rows; "" unless by one search in an index. */
static int explain(struct scanner *c, const struct conditions *w, struct buf *plan)
{
    sqlite3_stmt *s;
    buf_reset(plan);
    int rc = prepare(c, "EXPLAIN QUERY PLAN ", w, &s);
    for (int row = 0; rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW; row++) {
        const char *detail = (const char *)sqlite3_column_text(s, 3);
        rc = detail ? SQLITE_OK : SQLITE_NOMEM;
        if (detail && row == 0 && strncmp(detail, "SEARCH ", 7) == 0)
            buf_puts(plan, detail);
        else
            buf_reset(plan);
    }
    sqlite3_finalize(s);
    if (buf_error(plan))
        return SQLITE_NOMEM;
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/*
 * Takes out the conditions that the search does without. They would be checked inside of a step,
 * which could then pass over any number of rows before it ends.
 */
static int choose(struct scanner *c, struct conditions *w)
{
    struct buf best = {0}, plan = {0};
    int rc = explain(c, w, &best);
    if (rc == SQLITE_OK && best.len == 0)
        w->count = 0;
    for (int i = w->count - 1; rc == SQLITE_OK && i >= 0 && w->count > 1; i--) {
        struct conditions fewer = *w;
        fewer.text[i] = fewer.text[--fewer.count];
        rc = explain(c, &fewer, &plan);
        if (plan.len == best.len && memcmp(plan.data, best.data, best.len) == 0)
            *w = fewer;
    }
    buf_fini(&best);
    buf_fini(&plan);
    return rc;
}

static void split(const char *where, struct conditions *w)
{
    size_t total = 0;
    w->count = 0;
    for (const char *p = where; p && *p && w->count < MAX_CONDITIONS;) {
        size_t len = strlen(p);
        if (total + len <= MAX_TEXT) {
            total += len;
            w->text[w->count++] = p;
        }
        p += len + 1;
    }
}

static int bind(struct scanner *c)
{
    const struct scan *s = c->scan;
    int rc = SQLITE_OK, count = sqlite3_bind_parameter_count(c->select);
    for (int i = 0; i < count && i < s->param_count && rc == SQLITE_OK; i++)
        rc = values_bind(c->select, i + 1, &s->params[i]);
    return rc;
}

/* A condition that does not compile, as with an application's collation, is no failure. */
static int prepare_search(struct scanner *c)
{
    struct conditions w;
    split(c->scan->where, &w);
    if (w.count == 0)
        return SQLITE_OK;
    int rc = choose(c, &w);
    if (rc == SQLITE_OK && w.count > 0)
        rc = prepare(c, "", &w, &c->select);
    return (rc & 0xff) == SQLITE_ERROR ? SQLITE_OK : rc;
}

static int prepare_select(struct scanner *c)
{
    static const struct conditions none = {0};
    int rc = prepare_search(c);
    if (rc == SQLITE_OK)
        rc = c->select ? bind(c) : prepare(c, "", &none, &c->select);
    return rc == SQLITE_OK ? STATUS_OK : status_of(c, rc);
}

/* Without a key of their own rows are told apart by the rowid alone. */
static int start(struct scanner *c)
{
    const struct table *t = c->scan->table;
    if (!t->without_rowid && t->key_count == 0 && !table_rowid_name(t)) {
        log_error("the table %s has no key, and columns named as all names of the rowid: it "
                  "cannot be read in a snapshot",
            t->name);
        return STATUS_IO;
    }
    c->row = mem_array((size_t)t->column_count, sizeof(*c->row));
    return c->row ? prepare_select(c) : STATUS_NOMEM;
}

static int step(struct scanner *c)
{
    int rc = sqlite3_step(c->select);
    if (rc == SQLITE_ROW) {
        c->on_row = true;
        return table_rows_peek(c->select, c->scan->table, c->row);
    }
    c->scan->last = rc == SQLITE_DONE;
    return c->scan->last ? STATUS_OK : status_of(c, rc);
}

static int64_t rowid_at(struct scanner *c)
{
    return sqlite3_column_int64(c->select, sqlite3_column_count(c->select) - 1);
}

/* Copies the row into the batch, or leaves the batch as it was. */
static int copy_row(struct scanner *c, struct batch *b)
{
    const struct scan *s = c->scan;
    const struct table *t = s->table;
    struct batch_mark mark = batch_mark(b);
    struct value *row = batch_row(b, t->column_count);
    for (int i = 0; row && i < t->column_count; i++)
        if (batch_set_value(b, &row[i], &c->row[i]) < 0)
            row = NULL;
    struct change *change = row ? batch_add(b, CHANGE_INSERT, t) : NULL;
    if (!change) {
        batch_rewind(b, &mark);
        return batch_full(b) ? STATUS_TOO_LARGE : STATUS_NOMEM;
    }
    change->row = row;
    change->rowid = t->without_rowid ? 0 : rowid_at(c);
    change->seq = s->seq;
    return STATUS_OK;
}

static bool wanted(struct scanner *c)
{
    const struct scan *s = c->scan;
    return !s->keep || s->keep(s->ctx, c->row, s->table->without_rowid ? 0 : rowid_at(c));
}

/* Fills the batch until it is full or time is up. *batch may become another one. */
static int fill(struct scanner *c, struct batch **batch)
{
    int64_t until = clock_mono_ns() + PAGE_NS;
    int status = STATUS_OK;
    while (status == STATUS_OK && clock_mono_ns() < until) {
        if (!c->on_row && ((status = step(c)) < 0 || c->scan->last))
            return status;
        if (wanted(c))
            status = copy_row(c, *batch);
        if (status == STATUS_OK)
            c->on_row = false;
    }
    if (status != STATUS_TOO_LARGE || (*batch)->change_count > 0)
        return status == STATUS_TOO_LARGE ? STATUS_OK : status;
    /* One large row is a page of its own. */
    batch_unref(*batch);
    *batch = batch_new(0);
    status = *batch ? copy_row(c, *batch) : STATUS_NOMEM;
    c->on_row = status < 0;
    return status;
}

int scanner_page(struct scanner *c)
{
    struct scan *s = c->scan;
    s->last = false;
    struct batch *b = batch_new(s->page_bytes ? s->page_bytes : 1);
    int status = b ? STATUS_OK : STATUS_NOMEM;
    sqlconn_limit(&c->conn, 0, &s->cancel);
    if (status == STATUS_OK && !c->select)
        status = start(c);
    if (status == STATUS_OK)
        status = fill(c, &b);
    sqlconn_unlimit(&c->conn);
    if (status == STATUS_OK) {
        b->first_seq = b->last_seq = s->seq;
        s->batch = b;
    } else {
        batch_unref(b);
    }
    return status;
}
