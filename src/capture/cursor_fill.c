#include "capture/cursor_fill.h"

#include "base/clock.h"
#include "base/status.h"
#include "capture/mirror.h"
#include "capture/params.h"
#include "capture/query.h"
#include "capture/result.h"
#include "capture/sqlerror.h"
#include "capture/sqltext.h"
#include <limits.h>
#include <string.h>

static enum cursor_step fail(struct cursor *c, const char *code, const char *message)
{
    sqlerror_set(&c->request.error, code, "%s", message);
    return CURSOR_FAILED;
}

static enum cursor_step nomem(struct cursor *c)
{
    c->request.error.sqlite_code = SQLITE_NOMEM;
    return fail(c, "SQL_ERROR", "out of memory");
}

static enum cursor_step row_too_large(struct cursor *c)
{
    sqlerror_set(&c->request.error, "TOO_LARGE",
        "row %llu of the result is larger than %zu bytes: ask for fewer columns or for parts of "
        "them (substr)",
        (unsigned long long)atomic_load(&c->rows) + 1, c->row_bytes);
    return CURSOR_FAILED;
}

/* Stepping. */

/* A statement that can be stepped as the pages are wanted: one query, alone. */
static bool prepare(struct cursor *c)
{
    const struct sql_statement *s = c->request.statements;
    if (c->request.statement_count != 1 || s->len > INT_MAX / 2 || memchr(s->sql, 0, s->len) ||
        !sqltext_single(s->sql, s->len))
        return false;
    struct prepared *p;
    if (statement_cache_get(c->sql, s->sql, s->len, &p) != SQLITE_OK || !p)
        return false;
    c->statement = p;
    if (query_reads(p) && (c->sql == c->conn || mirror_statement(c->sql, p, s->sql, p->used)))
        return true;
    statement_cache_put(c->sql, p);
    c->statement = NULL;
    return false;
}

static int bind(struct cursor *c)
{
    struct params params;
    int status =
        params_init(&params, c->request.statements, c->statement->params, &c->request.error);
    int rc = SQLITE_OK;
    if (status == STATUS_NOMEM)
        rc = SQLITE_NOMEM;
    else if (status == STATUS_OK)
        rc = params_bind(&params, c->statement);
    params_fini(&params);
    return rc;
}

static void limit(struct cursor *c)
{
    int64_t left_ms = c->deadline_ns ? (c->deadline_ns - clock_mono_ns()) / 1000000 : 0;
    sqlconn_limit(c->sql, c->deadline_ns && left_ms < 1 ? 1 : left_ms, &c->request.cancel);
}

static enum cursor_step sqlite_failed(
    struct cursor *c, int rc, const struct database_options *options, int64_t limit_ms)
{
    sqlerror_from(&c->request.error, c->sql, rc, 0, limit_ms);
    if (sqlconn_stopped(c->sql) == STOP_TIMEOUT && limit_ms != options->query_timeout_ms)
        sqlerror_set(&c->request.error, "QUERY_CANCELLED",
            "the query was stopped after %g s: the journal mode of this file lets queries hold up "
            "writers, and those wait no longer than twice that (--busy-timeout)",
            (double)limit_ms / 1000);
    return CURSOR_FAILED;
}

/* The first step may prepare again after a schema change, and so change the columns. */
static int step(struct cursor *c, bool *done)
{
    int rc = sqlite3_step(c->statement->stmt);
    if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
        if (c->columns.len == 0)
            result_columns(&c->columns, c->statement->stmt);
        c->on_row = rc == SQLITE_ROW;
        *done = rc == SQLITE_DONE;
        return SQLITE_OK;
    }
    int reset = sqlite3_reset(c->statement->stmt);
    return reset != SQLITE_OK ? reset : rc;
}

static bool is_full(const struct cursor *c, const struct cursor_page *p)
{
    return p->count >= c->page_rows || p->rows.len >= c->page_bytes;
}

/* Adds the row that the statement stands on; one that would make the page too long stays there. */
static enum cursor_step add_row(struct cursor *c, struct cursor_page *p, bool *fits)
{
    size_t before = p->rows.len;
    if (p->count > 0)
        buf_putc(&p->rows, ',');
    size_t start = p->rows.len;
    if (result_row(&p->rows, c->statement->stmt) != SQLITE_OK ||
        buf_error(&p->rows) == STATUS_NOMEM)
        return nomem(c);
    *fits = p->count == 0 || (!buf_error(&p->rows) && p->rows.len <= c->page_bytes);
    if (!*fits) {
        buf_truncate(&p->rows, before);
        p->rows.err = 0;
        return CURSOR_PAGE;
    }
    if (buf_error(&p->rows) || (c->row_bytes && p->rows.len - start > c->row_bytes))
        return row_too_large(c);
    c->on_row = false;
    p->count++;
    atomic_fetch_add_explicit(&c->rows, 1, memory_order_relaxed);
    return CURSOR_PAGE;
}

static enum cursor_step fill(struct cursor *c, struct cursor_page *p, int *rc)
{
    enum cursor_step result = CURSOR_PAGE;
    bool fits = true;
    while (result == CURSOR_PAGE && fits && !p->last) {
        if (!c->on_row && (*rc = step(c, &p->last)) != SQLITE_OK)
            return CURSOR_FAILED;
        if (!c->on_row || is_full(c, p))
            break;
        result = add_row(c, p, &fits);
    }
    if (buf_error(&c->columns))
        return nomem(c);
    return result;
}

static enum cursor_step step_page(struct cursor *c, struct cursor_page *p,
    const struct database_options *options, int64_t limit_ms)
{
    int rc = SQLITE_OK;
    limit(c);
    enum cursor_step result = fill(c, p, &rc);
    if (rc != SQLITE_OK)
        result = sqlite_failed(c, rc, options, limit_ms);
    sqlconn_unlimit(c->sql);
    return result;
}

/* Whatever cannot be stepped runs whole. */
static enum cursor_step run_whole(
    struct cursor *c, struct published *published, const struct database_options *options)
{
    struct job j = {.request = &c->request};
    if (!query_run(c->conn, published, options, &j))
        return CURSOR_WRITE;
    if (c->request.error.code[0])
        return CURSOR_FAILED;
    cursor_cut(c, options->query_timeout_ms);
    return CURSOR_PAGE;
}

/* A mirror shows one moment, so that comes before the statement. */
static int begin_mirror(struct cursor *c, struct published *published)
{
    int rc = query_begin(c->conn, published, &c->request.seq);
    struct sqlconn *mirror = rc == SQLITE_OK ? mirror_enter(c->conn, NULL, &c->request, &rc) : NULL;
    if (mirror)
        c->sql = mirror;
    return rc;
}

static enum cursor_step begin(struct cursor *c, struct published *published,
    const struct database_options *options, int64_t limit_ms)
{
    c->sql = c->conn;
    int rc = c->request.policy ? begin_mirror(c, published) : SQLITE_OK;
    if (rc == SQLITE_OK && !prepare(c)) {
        cursor_close(c);
        return run_whole(c, published, options);
    }
    c->deadline_ns = limit_ms > 0 ? clock_mono_ns() + limit_ms * 1000000 : 0;
    limit(c);
    if (rc == SQLITE_OK && c->sql == c->conn)
        rc = query_begin(c->conn, published, &c->request.seq);
    if (c->statement)
        c->sql->auth.report = &c->statement->report;
    if (rc == SQLITE_OK)
        rc = bind(c);
    enum cursor_step result = CURSOR_PAGE;
    if (rc != SQLITE_OK)
        result = sqlite_failed(c, rc, options, limit_ms);
    else if (c->request.error.code[0])
        result = CURSOR_FAILED;
    sqlconn_unlimit(c->sql);
    return result;
}

void cursor_close(struct cursor *c)
{
    struct sqlconn *conn = c->conn;
    if (c->statement)
        statement_cache_put(c->sql, c->statement);
    c->statement = NULL;
    if (c->sql && c->sql != conn)
        mirror_leave(c->sql);
    c->sql = conn;
    conn->auth.report = NULL;
    conn->auth.denied[0] = conn->auth.missing[0] = 0;
    if (!sqlite3_get_autocommit(conn->db))
        sqlconn_run(conn, OWN_ROLLBACK);
}

/* Cutting. */

/* Behind the JSON value at `at`. It is our own, so it is well-formed. */
static size_t skip_value(const struct buf *json, size_t at)
{
    int depth = 0;
    bool text = false;
    for (; at < json->len; at++) {
        char ch = json->data[at];
        if (text && ch == '\\')
            at++;
        else if (ch == '"')
            text = !text;
        else if (!text && (ch == '[' || ch == '{'))
            depth++;
        else if (!text && (ch == ']' || ch == '}') && --depth == 0)
            return at + 1;
    }
    return at;
}

void cursor_cut(struct cursor *c, int64_t timeout_ms)
{
    static const char columns[] = "{\"columns\":", rows[] = ",\"rows\":[";
    const struct buf *json = &c->request.json;
    size_t start = strlen(columns), end = skip_value(json, start);
    c->cutting = true;
    c->deadline_ns = timeout_ms > 0 ? clock_mono_ns() + timeout_ms * 1000000 : 0;
    buf_put(&c->columns, json->data + start, end - start);
    c->cut = end + strlen(rows);
}

static enum cursor_step cut_page(struct cursor *c, struct cursor_page *p)
{
    const struct buf *json = &c->request.json;
    size_t start = c->cut;
    while (json->data[c->cut] != ']' && p->count < c->page_rows) {
        size_t row = c->cut + (json->data[c->cut] == ','), end = skip_value(json, row);
        if (c->row_bytes && end - row > c->row_bytes)
            return row_too_large(c);
        if (p->count > 0 && end - start > c->page_bytes)
            break;
        if (p->count == 0)
            start = row;
        c->cut = end;
        p->count++;
        atomic_fetch_add_explicit(&c->rows, 1, memory_order_relaxed);
    }
    buf_put(&p->rows, json->data + start, c->cut - start);
    p->last = json->data[c->cut] == ']';
    atomic_store(&c->percent, (int)((double)c->cut / (double)json->len * 100));
    return buf_error(&p->rows) || buf_error(&c->columns) ? nomem(c) : CURSOR_PAGE;
}

enum cursor_step cursor_fill(struct cursor *c, struct cursor_page *p, struct published *published,
    const struct database_options *options, int64_t limit_ms)
{
    enum cursor_step result = CURSOR_PAGE;
    buf_reset(&p->rows);
    p->rows.max = c->row_bytes ? c->page_bytes + c->row_bytes : 0;
    p->count = 0;
    p->last = false;
    if (!c->cutting && !c->statement)
        result = begin(c, published, options, limit_ms);
    if (result == CURSOR_PAGE)
        result = c->cutting ? cut_page(c, p) : step_page(c, p, options, limit_ms);
    if (result == CURSOR_PAGE && c->row_bytes && c->columns.len > c->row_bytes)
        return fail(c, "TOO_LARGE", "the names of the columns are too long: name them with AS");
    return result;
}
