#include "hub/query.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "capture/cursor.h"
#include "capture/sqlshape.h"
#include "hub/query_news.h"
#include "hub/replay.h"
#include "hub/session.h"
#include "hub/shard.h"

#include <stdio.h>
#include <string.h>

/*
 *   query_start -> the database -- page -> pages to write -> query:rows ---------+
 *                      ^                        |                                |
 *                      +------ given back ------+                                |
 *                  the database -- done --------------------> query:complete or query:error
 *
 * The first page, if it is the last one as well, waits for `done` and goes with query:complete.
 */
#define PAGE_ROWS 1000
#define PAGE_BYTES (1u << 20)   /* unless one row is longer */
#define TEXT_MAX 1000           /* of its SQL, for others */
#define SCRATCH_KEPT (1u << 20) /* one large row must not keep its memory for ever */

struct query {
    struct cursor cursor;
    struct shard *shard;
    struct session *session; /* NULL: its connection is gone, or it has been answered */
    struct list node;        /* of its session */
    struct list ready;       /* of its shard while it has something to write, or alone */
    bool full;               /* waits for the connection's queue to drain */
    bool done;               /* the database is through with it */
    struct cursor_page *pages[CURSOR_PAGES]; /* to write, the next one first */
    int page_count;
    struct message progress_message, done_message;
    atomic_bool telling; /* the former is on its way */
    struct buf id;
    struct buf request_id; /* of what the next message answers: the start, or a cancel */
    struct buf text;       /* of the SQL, for others to see */
};

static void query_free(struct query *q)
{
    cursor_fini(&q->cursor);
    buf_fini(&q->id);
    buf_fini(&q->request_id);
    buf_fini(&q->text);
    mem_free(q);
}

static struct text text_of(const struct buf *b)
{
    return (struct text){b->len ? b->data : NULL, b->len};
}

/* Reports. */

static struct query_report report_of(const struct query *q)
{
    return (struct query_report){
        .id = text_of(&q->id),
        .row_count = atomic_load(&q->cursor.rows),
        .elapsed_ns = clock_mono_ns() - q->cursor.begun_ns,
        .percent = atomic_load(&q->cursor.percent),
        .sql = text_of(&q->text),
    };
}

static void send(struct query *q, enum reply_type type, const struct query_report *report)
{
    struct reply r = {.type = type, .query = report};
    struct buf *scratch = &q->shard->scratch;

    if (type != REPLY_QUERY_PROGRESS && type != REPLY_QUERY_ROWS)
        r.request_id = text_of(&q->request_id);
    session_reply(q->session, &r);
    if (scratch->cap > SCRATCH_KEPT)
        buf_fini(scratch);
}

/* To the client and to the channel; rows are for the client alone. */
static void tell(struct query *q, enum reply_type type, const struct query_report *report)
{
    send(q, type, report);
    query_news(q->session, type, report);
}

/* Going. */

static void leave(struct query *q)
{
    list_del(&q->node);
    list_del(&q->ready);
    q->session->work->query_count--;
    q->session = NULL;
    if (q->done)
        query_free(q);
    else
        cursor_cancel(&q->cursor);
}

static void end(struct query *q, enum reply_type type, const struct query_report *report)
{
    tell(q, type, report);
    leave(q);
}

static void fail(struct query *q, const struct sql_error *error)
{
    struct query_report report = report_of(q);

    report.error = error;
    end(q, REPLY_QUERY_ERROR, &report);
}

static struct sql_error cancelled(const char *why)
{
    struct sql_error e = {.code = ERROR_QUERY_CANCELLED, .offset = -1, .statement = -1};

    snprintf(e.message, sizeof(e.message), "%s", why);
    return e;
}

void query_drop(struct session *s)
{
    const struct sql_error error = cancelled("the connection has ended");

    while (!list_empty(&s->work->queries)) {
        struct query *q = list_entry(s->work->queries.next, struct query, node);
        struct query_report report = report_of(q);

        report.error = &error;
        query_news(s, REPLY_QUERY_ERROR, &report);
        leave(q);
    }
}

/* What comes from the database. */

static void set_ready(struct query *q)
{
    if (q->full || !list_empty(&q->ready))
        return;
    list_add_tail(&q->shard->queries, &q->ready);
}

static void run_page(struct message *m, void *receiver)
{
    struct cursor_page *p = list_entry(m, struct cursor_page, message);
    struct query *q = list_entry(p->cursor, struct query, cursor);

    (void)receiver;
    if (!q->session)
        return;
    q->pages[q->page_count++] = p;
    /* A result in one page is sent when all is known about it. */
    if (p->number > 0 || !p->last)
        set_ready(q);
}

static void on_page(struct cursor *c, struct cursor_page *p)
{
    struct query *q = list_entry(c, struct query, cursor);

    p->message.run = run_page;
    hub_post(q->shard->hub, q->shard, &p->message);
}

static void run_progress(struct message *m, void *receiver)
{
    struct query *q = list_entry(m, struct query, progress_message);
    struct query_report report = report_of(q);

    (void)receiver;
    atomic_store(&q->telling, false);
    if (!q->session || conn_closing(q->session->conn))
        return;
    /* Whoever does not read what there is need not hear that there is more. */
    if (!q->session->slow && conn_queued(q->session->conn) < replay_queue_high(q->shard))
        send(q, REPLY_QUERY_PROGRESS, &report);
    query_news(q->session, REPLY_QUERY_PROGRESS, &report);
}

static void on_progress(struct cursor *c)
{
    struct query *q = list_entry(c, struct query, cursor);

    if (atomic_exchange(&q->telling, true))
        return;
    q->progress_message.run = run_progress;
    if (!hub_post(q->shard->hub, q->shard, &q->progress_message))
        atomic_store(&q->telling, false);
}

/* On the loop, or in hub_free with no receiver. */
static void run_done(struct message *m, void *receiver)
{
    struct query *q = list_entry(m, struct query, done_message);

    (void)receiver;
    q->done = true;
    atomic_fetch_sub_explicit(&q->shard->running_queries, 1, memory_order_relaxed);
    if (!q->session)
        query_free(q);
    else if (q->cursor.request.error.code[0])
        fail(q, &q->cursor.request.error);
    else
        set_ready(q);
}

static void on_done(struct cursor *c)
{
    struct query *q = list_entry(c, struct query, cursor);
    struct hub *hub = q->shard->hub;

    q->done_message.run = run_done;
    if (!hub_post(hub, q->shard, &q->done_message))
        hub_keep(hub, &q->done_message);
}

/* Writing. */

static bool is_full(struct query *q)
{
    struct conn *c = q->session->conn;
    size_t high = replay_queue_high(q->shard);

    if (conn_queued(c) < high && !q->session->slow)
        return false;
    q->full = true;
    conn_want_drained(c, high / 2);
    return true;
}

static void complete(struct query *q)
{
    struct query_report report = report_of(q);
    const struct sql_request *r = &q->cursor.request;
    const struct cursor_page *p = q->page_count ? q->pages[0] : NULL;

    report.changes = r->changes;
    report.last_rowid = r->last_rowid;
    report.seq = r->seq;
    if (p) {
        report.results = true;
        report.columns = text_of(&q->cursor.columns);
        report.rows = text_of(&p->rows);
    }
    end(q, REPLY_QUERY_COMPLETE, &report);
}

static void write_rows(struct query *q)
{
    struct cursor_page *p = q->pages[0];
    struct query_report report = report_of(q);

    report.page = p->number;
    report.columns = text_of(&q->cursor.columns);
    report.rows = text_of(&p->rows);
    send(q, REPLY_QUERY_ROWS, &report);
    q->page_count--;
    memmove(q->pages, q->pages + 1, (size_t)q->page_count * sizeof(*q->pages));
    if (!q->done)
        cursor_give(&q->cursor, p);
}

void query_write(struct shard *s)
{
    struct query *q = list_entry(s->queries.next, struct query, ready);
    bool rows;

    list_del(&q->ready);
    if (conn_closing(q->session->conn) || is_full(q))
        return;
    rows = q->page_count && (q->pages[0]->number > 0 || !q->pages[0]->last);
    if (rows)
        write_rows(q);
    else if (q->done)
        complete(q);
    if (rows && (q->page_count || q->done))
        set_ready(q);
}

void query_drained(struct session *s)
{
    for (struct list *n = s->work->queries.next; n != &s->work->queries; n = n->next) {
        struct query *q = list_entry(n, struct query, node);

        if (!q->full)
            continue;
        q->full = false;
        set_ready(q);
    }
    if (!list_empty(&s->shard->queries))
        shard_wake(s->shard);
}

/* Commands. */

static struct query *find(const struct session *s, struct text id)
{
    for (struct list *n = s->work->queries.next; n != &s->work->queries; n = n->next) {
        struct query *q = list_entry(n, struct query, node);

        if (q->id.len == id.len && memcmp(q->id.data, id.p, id.len) == 0)
            return q;
    }
    return NULL;
}

static bool allowed(struct session *s, const struct command *cmd)
{
    uint32_t max = s->shard->options->max_queries;

    if (!s->shard->options->db)
        session_refuse(s, cmd, ERROR_INVALID_FORMAT, "this server runs no queries");
    else if (cmd->query_id.p && find(s, cmd->query_id))
        session_refuse(s, cmd, ERROR_CONFLICT,
            "a query with this queryId is running: wait for its end, or cancel it");
    else if (max && s->work->query_count >= max)
        session_refuse(s, cmd, ERROR_LIMIT_EXCEEDED,
            "a connection may run at most %u queries at once (--max-queries): wait for one to end",
            max);
    else
        return true;
    return false;
}

/* Of its own, unlike all the client's. */
static void put_id(struct session *s, struct buf *id)
{
    do {
        buf_reset(id);
        buf_printf(id, "\"q%u\"", ++s->work->last_query);
    } while (!buf_error(id) && find(s, (struct text){id->data, id->len}));
}

static struct query *query_new(struct session *s, const struct command *cmd)
{
    struct query *q = mem_zalloc(sizeof(*q));
    const struct sql_statement *sql = cmd->sql->statements;

    if (!q)
        return NULL;
    if (cmd->query_id.p)
        buf_put(&q->id, cmd->query_id.p, cmd->query_id.len);
    else
        put_id(s, &q->id);
    buf_put(&q->request_id, cmd->request_id.p, cmd->request_id.p ? cmd->request_id.len : 0);
    sqlshape_put(&q->text, sql->sql, sql->len, TEXT_MAX, s->shard->topics.schema);
    if (!buf_error(&q->id) && !buf_error(&q->request_id) && !buf_error(&q->text))
        return q;
    query_free(q);
    return NULL;
}

/* The statements are the query's from now on. */
static void take_sql(struct query *q, struct sql_request *from)
{
    struct sql_request *to = &q->cursor.request;

    to->statements = from->statements;
    to->statement_count = from->statement_count;
    to->origin = conn_id(q->session->conn);
    sql_request_restrict(to, q->session->policy, q->session->who);
    from->statements = NULL;
    from->statement_count = 0;
}

static size_t lesser(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void begin(struct query *q, struct session *s, struct sql_request *sql)
{
    const struct hub_options *o = s->shard->options;
    q->session = s;
    q->shard = s->shard;
    list_init(&q->ready);
    list_add_tail(&s->work->queries, &q->node);
    s->work->query_count++;
    take_sql(q, sql);
    q->cursor.page_rows = PAGE_ROWS;
    q->cursor.page_bytes = lesser(PAGE_BYTES, o->max_queue / 4);
    q->cursor.row_bytes = o->max_queue / 4;
    q->cursor.page = on_page;
    q->cursor.progress = on_progress;
    q->cursor.done = on_done;
    q->cursor.begun_ns = clock_mono_ns();
    atomic_fetch_add_explicit(&s->shard->running_queries, 1, memory_order_relaxed);
}

void query_start(struct session *s, const struct command *cmd)
{
    struct query_report report;
    struct query *q;

    if (!allowed(s, cmd))
        return;
    q = session_work(s) == 0 ? query_new(s, cmd) : NULL;
    if (!q) {
        session_fail(s);
        return;
    }
    begin(q, s, cmd->sql);
    report = report_of(q);
    tell(q, REPLY_QUERY_STARTED, &report);
    buf_reset(&q->request_id);
    cursor_open(s->shard->options->db, &q->cursor);
}

/*
 * Answered by the query's end. One that the database is through with is cancelled here, while its
 * rows wait to be read.
 */
void query_cancel(struct session *s, const struct command *cmd)
{
    const struct sql_error error =
        cancelled("the query was cancelled while its rows waited to be read");
    struct query *q = find(s, cmd->query_id);

    if (!q) {
        session_refuse(s, cmd, ERROR_NOT_FOUND,
            "this connection runs no query %.*s; it may have ended already",
            (int)lesser(cmd->query_id.len, 128), cmd->query_id.p);
        return;
    }
    if (cmd->request_id.p) {
        buf_reset(&q->request_id);
        buf_put(&q->request_id, cmd->request_id.p, cmd->request_id.len);
    }
    if (buf_error(&q->request_id))
        session_fail(s);
    else if (q->done)
        fail(q, &error);
    else
        cursor_cancel(&q->cursor);
}
