#include "hub/request.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/database.h"
#include "hub/report.h"
#include "hub/roster.h"
#include "hub/session.h"
#include "hub/shard.h"
#include "hub/sync.h"

#include <stdio.h>
#include <string.h>

/* What a message has besides the result. */
#define MESSAGE_HEAD 1024
#define SCRATCH_KEPT (1u << 20) /* one large answer must not keep its memory for ever */

struct request {
    struct sql_request sql;
    struct roster roster;
    struct list node;        /* of its session, or alone */
    struct session *session; /* NULL: nobody waits for it any more */
    struct shard *shard;
    enum command_type type;
    enum report report;
    size_t id_len;
    char id[];
};

static void request_free(struct request *q)
{
    if (q->session)
        q->session->work->request_count--;
    list_del(&q->node);
    sql_request_fini(&q->sql);
    roster_fini(&q->roster);
    mem_free(q);
}

void request_cancel_all(struct session *s)
{
    while (!list_empty(&s->work->requests)) {
        struct request *q = list_entry(s->work->requests.next, struct request, node);

        list_del(&q->node);
        s->work->request_count--;
        q->session = NULL;
        atomic_store(&q->sql.cancel, true);
    }
}

/* Answers. */

static struct text id_of(const struct request *q)
{
    return (struct text){q->id_len ? q->id : NULL, q->id_len};
}

static void reply_result(struct session *s, struct text id, const struct buf *json)
{
    struct reply r = {.type = REPLY_RESULT, .request_id = id, .result = {json->data, json->len}};
    const struct command cmd = {.request_id = id};
    size_t max = s->shard->options->max_queue, queued = conn_queued(s->conn);

    if (buf_error(json))
        session_refuse(s, &cmd, ERROR_LIMIT_EXCEEDED, "out of memory for the answer");
    else if (json->len + MESSAGE_HEAD > max - (queued < max ? queued : max))
        session_refuse(s, &cmd, ERROR_TOO_LARGE,
            "the answer has %zu bytes, which is more than may wait for this connection: ask for "
            "less, use query:start or POST /api/sql, or raise --max-queue",
            json->len);
    else
        session_reply(s, &r);
    if (s->shard->scratch.cap > SCRATCH_KEPT)
        buf_fini(&s->shard->scratch);
}

static void reply_sql(struct request *q)
{
    const struct sql_error *e = &q->sql.error;
    struct reply r = {.type = REPLY_ERROR,
        .request_id = id_of(q),
        .code = e->code,
        .message = e->message,
        .sql = e,
        .operation = q->type == COMMAND_SYNC};

    if (e->code[0])
        session_reply(q->session, &r);
    else
        reply_result(q->session, id_of(q), &q->sql.json);
}

/* The database has been asked for a row of its own: unless that failed it can be read. */
static void reply_health(struct request *q)
{
    bool ok = strcmp(q->sql.error.code, "SQL_ERROR") != 0;
    struct buf json = {0};

    if (q->report == REPORT_HEALTH)
        report_health(&json, q->shard->hub, ok);
    else
        report_websocket_health(&json, q->shard->hub, ok);
    reply_result(q->session, id_of(q), &json);
    buf_fini(&json);
}

static void reply_stats(struct request *q)
{
    struct buf json = {0};

    roster_put_json(&json, &q->roster);
    reply_result(q->session, id_of(q), &json);
    buf_fini(&json);
}

static void finish(struct request *q)
{
    if (q->session && !conn_closing(q->session->conn)) {
        if (q->type != COMMAND_REPORT)
            reply_sql(q);
        else if (q->report == REPORT_STATS)
            reply_stats(q);
        else
            reply_health(q);
    }
    request_free(q);
}

/* On the way, and back. */

static void run_executed(struct message *m, void *receiver)
{
    (void)receiver;
    finish(list_entry(m, struct request, sql.message));
}

static void run_listed(struct message *m, void *receiver)
{
    (void)receiver;
    finish(list_entry(m, struct request, roster.message));
}

/* After the end of the loops nobody is there to be answered. */
static void go_home(struct request *q, struct message *m)
{
    if (!hub_post(q->shard->hub, q->shard, m))
        hub_keep(q->shard->hub, m);
}

static void executed(struct sql_request *sql)
{
    struct request *q = list_entry(sql, struct request, sql);

    sql->message.run = run_executed;
    go_home(q, &sql->message);
}

static void listed(struct roster *roster)
{
    struct request *q = list_entry(roster, struct request, roster);

    roster->message.run = run_listed;
    go_home(q, &roster->message);
}

static struct request *request_new(struct session *s, const struct command *cmd)
{
    struct request *q = session_work(s) == 0 ? mem_zalloc(sizeof(*q) + cmd->request_id.len) : NULL;

    if (!q)
        return NULL;
    q->shard = s->shard;
    q->session = s;
    q->type = cmd->type;
    q->report = cmd->report;
    q->id_len = cmd->request_id.len;
    if (q->id_len)
        memcpy(q->id, cmd->request_id.p, q->id_len);
    list_init(&q->node);
    list_add_tail(&s->work->requests, &q->node);
    s->work->request_count++;
    return q;
}

/* Takes what the command holds. */
static void take_sql(struct request *q, struct sql_request *from)
{
    q->sql = *from;
    *from = (struct sql_request){0};
}

static void execute(struct request *q)
{
    struct sql_request *sql = &q->sql;

    sql->origin = conn_id(q->session->conn);
    if (q->type != COMMAND_REPORT)
        sql_request_restrict(sql, q->session->policy, q->session->who);
    sql->done = executed;
    database_run(q->shard->options->db, sql);
}

/* False: it was answered at once. */
static bool prepare(struct request *q, const struct command *cmd)
{
    static const char touch[] = "SELECT 1 FROM sqlite_schema LIMIT 1";
    int rc = 0;

    if (cmd->type == COMMAND_SQL) {
        take_sql(q, cmd->sql);
    } else if (cmd->type == COMMAND_SYNC) {
        rc = sync_build(cmd->sync, q->shard->topics.schema, q->session->policy, q->session->who);
        take_sql(q, &cmd->sync->sql);
    } else if (!sql_request_add(&q->sql, touch, sizeof(touch) - 1)) {
        rc = STATUS_NOMEM;
    }
    if (rc == STATUS_NOMEM)
        session_fail(q->session);
    else if (rc < 0 || !q->sql.statement_count)
        reply_sql(q);
    return rc == 0 && q->sql.statement_count;
}

static void begin(struct session *s, const struct command *cmd)
{
    uint32_t max = s->shard->options->max_requests;
    struct request *q;

    if (!s->shard->options->db) {
        session_refuse(s, cmd, ERROR_NOT_FOUND, "this server runs no SQL");
        return;
    }
    if (max && s->work->request_count >= max) {
        session_refuse(s, cmd, ERROR_LIMIT_EXCEEDED,
            "a connection may have at most %u requests on their way: wait for answers", max);
        return;
    }
    q = request_new(s, cmd);
    if (!q) {
        session_fail(s);
    } else if (cmd->type == COMMAND_REPORT && cmd->report == REPORT_STATS) {
        q->roster =
            (struct roster){.hub = s->shard->hub, .limit = cmd->report_limit, .done = listed};
        roster_limit_to(&q->roster, s->policy, s->who);
        roster_start(&q->roster);
    } else if (prepare(q, cmd)) {
        execute(q);
    } else {
        request_free(q);
    }
}

/* What this thread knows by itself. */
static bool report(struct session *s, const struct command *cmd, struct buf *json)
{
    const struct schema *schema = s->shard->topics.schema;
    int len = (int)(cmd->table.len < 128 ? cmd->table.len : 128);

    switch (cmd->report) {
    case REPORT_STATUS:
        report_status(json, s->shard->hub);
        return true;
    case REPORT_REALTIME:
        report_realtime(json, NULL, session_user(s));
        return true;
    case REPORT_TABLES:
        report_tables(json, schema, s->policy, s->who);
        return true;
    default:
        if (report_table(json, schema, s->policy, s->who, cmd->table.p, cmd->table.len))
            return true;
        session_refuse(s, cmd, ERROR_NOT_FOUND, "no such table: %.*s", len, cmd->table.p);
        return false;
    }
}

static bool takes_time(const struct command *cmd)
{
    return cmd->type != COMMAND_REPORT || cmd->report == REPORT_HEALTH ||
           cmd->report == REPORT_WEBSOCKET_HEALTH || cmd->report == REPORT_STATS;
}

void request_run(struct session *s, const struct command *cmd)
{
    struct buf json = {0};

    if (takes_time(cmd))
        begin(s, cmd);
    else if (report(s, cmd, &json))
        reply_result(s, cmd->request_id, &json);
    buf_fini(&json);
}
