#include "dialect/native_query.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/database.h"
#include "dialect/arguments.h"
#include "dialect/native.h"
#include "dialect/native_args.h"
#include "dialect/sql_json.h"

static int read_id(struct command *cmd)
{
    struct native_memory *m = cmd->memory;

    return native_echo(
        cmd, "queryId", native_argument(cmd, "queryId"), &m->query_id, &cmd->query_id);
}

/* The two arguments as POST /api/sql has them. */
static json_t *statement_of(const struct command *cmd)
{
    json_t *object = json_object();
    json_t *sql = native_argument(cmd, "sql"), *params = native_argument(cmd, "params");

    if (object && ((sql && json_object_set(object, "sql", sql) < 0) ||
                      (params && json_object_set(object, "params", params) < 0))) {
        json_decref(object);
        return NULL;
    }
    return object;
}

int native_query_start(struct command *cmd)
{
    struct native_memory *m = cmd->memory;
    json_t *object = statement_of(cmd);
    struct buf err = {0};
    int rc = read_id(cmd);

    cmd->sql = m->sql = mem_zalloc(sizeof(*m->sql));
    if (!object || !cmd->sql)
        rc = STATUS_NOMEM;
    if (rc == 0) {
        rc = sql_json_statement(cmd->sql, object, NULL, -1, &err);
        if (rc == STATUS_INVALID)
            arguments_refuse(cmd, ERROR_INVALID_FORMAT, "%s", buf_text(&err));
    }
    json_decref(object);
    buf_fini(&err);
    return rc;
}

int native_query_cancel(struct command *cmd)
{
    int rc = read_id(cmd);

    if (rc == 0 && !cmd->query_id.p)
        return arguments_refuse(cmd, ERROR_INVALID_FORMAT, "query:cancel needs a queryId");
    return rc;
}

/* Out. */

static void put_ms(struct buf *out, const char *name, int64_t ns)
{
    buf_printf(out, ",\"%s\":%.3f", name, (double)ns / 1e6);
}

static void put_results(struct buf *out, const struct query_report *q)
{
    buf_puts(out, ",\"columns\":");
    buf_put(out, q->columns.p, q->columns.len);
    buf_puts(out, ",\"rows\":[");
    buf_put(out, q->rows.p, q->rows.len);
    buf_putc(out, ']');
}

static void put_started(struct buf *out, const struct query_report *q, bool news)
{
    if (!news)
        return;
    buf_puts(out, ",\"sql\":");
    buf_put_json(out, q->sql.p, q->sql.len);
}

static void put_count(struct buf *out, const struct query_report *q)
{
    buf_puts(out, ",\"rowCount\":");
    buf_put_u64(out, q->row_count);
}

static void put_progress(struct buf *out, const struct query_report *q, bool news)
{
    (void)news;
    put_count(out, q);
    put_ms(out, "elapsed", q->elapsed_ns);
    if (q->percent < 0)
        buf_puts(out, ",\"progress\":null");
    else
        buf_printf(out, ",\"progress\":%d", q->percent);
}

static void put_rows(struct buf *out, const struct query_report *q, bool news)
{
    (void)news;
    buf_puts(out, ",\"page\":");
    buf_put_u64(out, q->page);
    put_results(out, q);
}

static void put_complete(struct buf *out, const struct query_report *q, bool news)
{
    put_count(out, q);
    put_ms(out, "duration", q->elapsed_ns);
    if (news)
        return;
    buf_puts(out, ",\"changes\":");
    buf_put_i64(out, q->changes);
    buf_puts(out, ",\"lastInsertRowid\":");
    buf_put_i64(out, q->last_rowid);
    buf_puts(out, ",\"seq\":");
    buf_put_u64(out, q->seq);
    if (!q->results)
        return;
    buf_puts(out, ",\"results\":{\"columns\":");
    buf_put(out, q->columns.p, q->columns.len);
    buf_puts(out, ",\"rows\":[");
    buf_put(out, q->rows.p, q->rows.len);
    buf_puts(out, "]}");
}

static void put_failure(struct buf *out, const struct query_report *q, bool news)
{
    put_count(out, q);
    put_ms(out, "duration", q->elapsed_ns);
    buf_puts(out, ",\"error\":{");
    if (news) {
        buf_puts(out, "\"code\":");
        buf_put_json_text(out, q->error->code);
        if (q->error->sqlite_code)
            buf_printf(out, ",\"sqliteCode\":%d", q->error->sqlite_code);
    } else {
        sql_json_put_error_members(out, q->error, "statement");
    }
    buf_putc(out, '}');
}

static void put_owner(struct buf *out, const struct query_report *q)
{
    buf_puts(out, ",\"connectionId\":\"c");
    buf_put_u64(out, q->connection);
    buf_puts(out, "\",\"userId\":");
    if (q->user.p)
        buf_put_json(out, q->user.p, q->user.len);
    else
        buf_puts(out, "null");
}

void native_query_encode(struct buf *out, const struct reply *r)
{
    static const struct {
        const char *name;
        void (*put)(struct buf *out, const struct query_report *q, bool news);
    } types[] = {
        [REPLY_QUERY_STARTED] = {"query:started", put_started},
        [REPLY_QUERY_PROGRESS] = {"query:progress", put_progress},
        [REPLY_QUERY_ROWS] = {"query:rows", put_rows},
        [REPLY_QUERY_COMPLETE] = {"query:complete", put_complete},
        [REPLY_QUERY_ERROR] = {"query:error", put_failure},
    };
    const struct query_report *q = r->query;
    bool news = r->channel.p;

    native_encode_head(out, r, types[r->type].name);
    if (news) {
        buf_puts(out, ",\"channel\":");
        buf_put_json(out, r->channel.p, r->channel.len);
    }
    buf_puts(out, ",\"data\":{\"queryId\":");
    buf_put(out, q->id.p, q->id.len);
    if (news)
        put_owner(out, q);
    types[r->type].put(out, q, news);
    buf_puts(out, "}}");
}
