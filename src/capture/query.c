#include "capture/query.h"

#include "base/clock.h"
#include "base/status.h"
#include "capture/mirror.h"
#include "capture/moment.h"
#include "capture/result.h"
#include "capture/sqlerror.h"
#include "capture/sqltext.h"
#include <limits.h>
#include <string.h>

/* Requests with more statements than this go to the writer. */
#define MAX_STATEMENTS 32
#define SNAPSHOT_TRIES 3
#define USUAL_ANSWER 500 /* bytes, of a row or two */

/* A request whose statements are all prepared, on a read connection. */
struct query {
    struct sqlconn *conn;
    struct sqlconn *sql; /* where its statements are: that one, or a mirror over it */
    struct job *job;
    struct sql_request *request;
    const struct database_options *options;
    struct {
        struct prepared *p;
        int text;
        size_t pos;
    } statements[MAX_STATEMENTS];
    int count;
};

bool query_reads(const struct prepared *p)
{
    return p->read_only && p->returns_rows && p->report.control == CONTROL_NONE &&
           !p->report.alone && !p->report.writer;
}

static bool prepare_text(struct query *q, int text)
{
    const struct sql_statement *s = &q->request->statements[text];
    size_t pos = 0;
    if (s->len > INT_MAX / 2 || memchr(s->sql, 0, s->len))
        return false;
    while (pos < s->len) {
        struct prepared *p;
        if (q->count == MAX_STATEMENTS ||
            statement_cache_get(q->sql, s->sql + pos, s->len - pos, &p) != SQLITE_OK)
            return false;
        if (!p)
            break;
        q->statements[q->count].p = p;
        q->statements[q->count].text = text;
        q->statements[q->count++].pos = pos;
        if (!query_reads(p) ||
            (q->sql != q->conn && !mirror_statement(q->sql, p, s->sql + pos, p->used)))
            return false;
        pos += p->used;
    }
    return pos > 0;
}

static bool prepare_all(struct query *q)
{
    for (int i = 0; i < q->request->statement_count; i++)
        if (!prepare_text(q, i))
            return false;
    return q->count > 0;
}

static void release_all(struct query *q)
{
    for (int i = 0; i < q->count; i++)
        statement_cache_put(q->sql, q->statements[i].p);
}

int query_begin(struct sqlconn *c, struct published *p, uint64_t *seq)
{
    bool exact = false;
    int rc = SQLITE_OK;
    for (int i = 0; i < SNAPSHOT_TRIES && rc == SQLITE_OK && !exact; i++) {
        if (i > 0)
            sqlconn_run(c, OWN_ROLLBACK);
        rc = moment_begin(c, p, seq, NULL, &exact);
    }
    return rc;
}

/* For what is over with this request, or the next ones. */
static int hold(struct sqlconn *c, struct published *p, struct moment *m)
{
    int rc = SQLITE_OK;
    m->exact = false;
    for (int i = 0; i < SNAPSHOT_TRIES && rc == SQLITE_OK && !m->exact; i++) {
        if (i > 0)
            sqlconn_release(c);
        rc = moment_hold(c, p, m);
    }
    return rc;
}

static bool failed(struct query *q, int rc, size_t pos)
{
    struct sql_request *r = q->request;
    if (rc != SQLITE_OK) {
        sqlerror_from(&r->error, q->sql, rc, pos, q->options->query_timeout_ms);
    } else if (buf_error(&r->json) == STATUS_NOMEM) {
        r->error.sqlite_code = SQLITE_NOMEM;
        sqlerror_set(&r->error, "SQL_ERROR", "out of memory");
    } else if (buf_error(&r->json)) {
        sqlerror_set(&r->error, "TOO_LARGE",
            "the result is larger than %zu bytes: ask for fewer rows or columns (LIMIT, WHERE)",
            r->json.max);
    }
    return r->error.code[0] != 0;
}

static void run_one(struct query *q, int i, size_t start, struct params *params)
{
    struct sql_request *r = q->request;
    struct prepared *p = q->statements[i].p;
    buf_truncate(&r->json, start);
    q->sql->auth.report = &p->report;
    int rc = params_bind(params, p);
    sqlconn_limit(q->sql, q->options->query_timeout_ms, &r->cancel);
    if (rc == SQLITE_OK) {
        rc = result_run(&r->json, p);
        r->rows += p->rows;
    }
    failed(q, rc, q->statements[i].pos);
    sqlconn_unlimit(q->sql);
    result_counts(&r->json, 0, 0);
}

static void run_text(struct query *q, int text, int *next)
{
    struct sql_request *r = q->request;
    struct params params;
    size_t start = r->transaction ? r->json.len : 0;
    const struct prepared *p = q->statements[*next].p;
    int known = p->text ? p->params : -1;
    if (params_init(&params, &r->statements[text], known, &r->error) == STATUS_NOMEM)
        sqlerror_set(&r->error, "SQL_ERROR", "out of memory");
    while (!r->error.code[0] && *next < q->count && q->statements[*next].text == text) {
        q->job->index = r->transaction ? text : *next;
        run_one(q, (*next)++, start, &params);
    }
    params_fini(&params);
}

static void run_all(struct query *q)
{
    struct sql_request *r = q->request;
    int next = 0;
    if (r->transaction)
        buf_puts(&r->json, "{\"results\":[");
    for (int i = 0; i < r->statement_count && !r->error.code[0]; i++) {
        if (r->transaction && i > 0)
            buf_putc(&r->json, ',');
        run_text(q, i, &next);
        if (r->transaction)
            buf_putc(&r->json, '}');
    }
    if (r->transaction)
        buf_putc(&r->json, ']');
    if (!r->error.code[0])
        failed(q, SQLITE_OK, 0);
    if (r->error.code[0] && q->count > 1)
        r->error.statement = q->job->index;
}

bool query_possible(const struct sql_request *r)
{
    static const char *const words[] = {"SELECT", "WITH", "VALUES", "PRAGMA", "EXPLAIN"};
    for (int i = 0; i < r->statement_count; i++) {
        const struct sql_statement *s = &r->statements[i];
        size_t k = 0, count = sizeof(words) / sizeof(*words);
        while (k < count && !sqltext_begins(s->sql, s->len, words[k]))
            k++;
        if (k == count)
            return false;
    }
    return true;
}

/* A mirror shows one moment, so that comes first. */
static int begin_mirror(struct query *q, struct published *published, uint64_t *seq)
{
    int rc = query_begin(q->conn, published, seq);
    struct sqlconn *mirror = rc == SQLITE_OK ? mirror_enter(q->conn, NULL, q->request, &rc) : NULL;
    if (mirror)
        q->sql = mirror;
    return rc;
}

static void run(struct query *q, struct published *published, struct moment *m, int rc, bool held)
{
    q->sql->auth.report = NULL;
    if (q->sql == q->conn && rc == SQLITE_OK && !held)
        rc = hold(q->conn, published, m);
    if (!failed(q, rc, 0))
        run_all(q);
}

static void leave(struct query *q, bool keep)
{
    release_all(q);
    if (q->sql != q->conn)
        mirror_leave(q->sql);
    q->conn->auth.denied[0] = q->conn->auth.missing[0] = 0;
    if (!keep)
        sqlconn_release(q->conn);
    if (!keep && !sqlite3_get_autocommit(q->conn->db))
        sqlconn_run(q->conn, OWN_ROLLBACK);
}

/* kept: what the connection holds from requests before, and is to hold for those that follow. */
static bool run_request(struct sqlconn *c, struct published *published,
    const struct database_options *options, struct job *j, struct moment *kept)
{
    struct query q = {.conn = c, .sql = c, .job = j, .request = j->request, .options = options};
    struct moment m = {.seq = 0};
    bool held = kept && kept->placed;
    if (held)
        m = *kept;
    executor_reset(j);
    j->request->json.max = options->max_result;
    if (options->max_result > USUAL_ANSWER)
        buf_reserve(&j->request->json, USUAL_ANSWER);
    int rc = j->request->policy ? begin_mirror(&q, published, &m.seq) : SQLITE_OK;
    bool readable = rc != SQLITE_OK || prepare_all(&q);
    q.sql->auth.report = NULL;
    if (readable)
        run(&q, published, &m, rc, held);
    leave(&q, kept && readable && !j->request->error.code[0] && m.placed);
    if (kept)
        kept->placed = readable && !j->request->error.code[0] && m.placed;
    if (kept && kept->placed)
        *kept = m;
    j->request->run_ns = clock_mono_ns() - j->request->began_ns;
    if (readable)
        executor_finish(j, m.seq);
    return readable;
}

bool query_run(struct sqlconn *c, struct published *published,
    const struct database_options *options, struct job *j)
{
    return run_request(c, published, options, j, NULL);
}

bool query_run_next(struct sqlconn *c, struct published *published,
    const struct database_options *options, struct job *j, struct moment *kept)
{
    if (kept->placed && !moment_is_now(kept)) {
        sqlconn_release(c);
        kept->placed = false;
    }
    return run_request(c, published, options, j, kept);
}
