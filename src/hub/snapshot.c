#include "hub/snapshot.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "capture/scan.h"
#include "filter/filter_sql.h"
#include "hub/replay.h"
#include "hub/session.h"
#include "hub/shard.h"

#include <string.h>

/*
 *   snapshot_start                  opened                      page_came
 *        |  SCAN_OPEN                 |  SCAN_PAGE                  |
 *        +------------> pager --------+------------> pager --------+-> rows to write -> messages
 *                                     ^                            |        |
 *                                     +-------- the next page -----+        | last
 *                                                                           v
 *   leave: SCAN_CLOSE as soon as the pager does not have it -> pager -> freed
 */
#define PAGE_BYTES (256u << 10) /* of memory, about */
#define MESSAGE_MAX (64u << 10) /* rows of one message, unless one row is longer */
#define ROWS_KEPT (1u << 20)    /* one large row must not keep its memory for ever */

struct snapshot {
    struct scan scan;
    struct shard *shard;
    struct subscription *sub; /* NULL: it only waits to be closed */
    struct list node;         /* of its session */
    struct list ready;        /* of its shard while it has something to do, or alone */
    bool away;                /* the pager has the scan */
    bool answered;
    bool full;        /* waits for the connection's queue to drain */
    bool resumed;     /* the past was asked for */
    const char *lost; /* and why it could not be had */
    struct filter *filter;
    struct projection *projection;
    struct buf where;
    struct batch *page; /* being written */
    uint32_t next;      /* row of it */
    bool last;          /* there is no page after it */
    size_t id_len;
    char id[]; /* the request's */
};

static void snapshot_free(struct snapshot *sn)
{
    filter_free(sn->filter);
    buf_fini(&sn->where);
    batch_unref(sn->page);
    batch_unref(sn->scan.batch);
    mem_free(sn);
}

/* The pager. */

static void run_returned(struct message *m, void *receiver);

static void post(struct snapshot *sn, enum scan_step step)
{
    if (step == SCAN_CLOSE) {
        batch_unref(sn->scan.batch);
        sn->scan.batch = NULL;
    }
    sn->scan.step = step;
    database_scan(sn->shard->options->db, &sn->scan);
}

/* On the pager's thread. Once the loops are stopped, what is open is closed from here. */
static void step_done(struct scan *scan)
{
    struct snapshot *sn = scan->ctx;
    struct hub *hub = sn->shard->hub;

    scan->message.run = run_returned;
    if (hub_post(hub, sn->shard, &scan->message))
        return;
    if (scan->step == SCAN_CLOSE)
        hub_keep(hub, &scan->message);
    else
        post(sn, SCAN_CLOSE);
}

static bool keep(void *ctx, const struct value *row, int64_t rowid)
{
    const struct snapshot *sn = ctx;

    return filter_match(sn->filter, row, rowid);
}

static void ask(struct snapshot *sn, enum scan_step step)
{
    sn->away = true;
    post(sn, step);
}

/* Going. */

/* The subscription is on its own from now on. */
static void leave(struct snapshot *sn)
{
    sn->sub->session->snapshot_count--;
    sn->sub->snapshot = NULL;
    sn->sub = NULL;
    list_del(&sn->node);
    list_del(&sn->ready);
    projection_put(sn->projection);
    sn->projection = NULL;
    atomic_store(&sn->scan.cancel, true);
    if (!sn->away)
        ask(sn, SCAN_CLOSE);
}

static void answer(struct snapshot *sn, const struct table *table, uint64_t seq)
{
    struct subscription *sub = sn->sub;
    struct reply r = {.type = REPLY_SUBSCRIBED,
        .request_id = {sn->id_len ? sn->id : NULL, sn->id_len},
        .table = {sub->topic->name, sub->topic->len},
        .subscriptions = &sub->number,
        .subscription_count = 1,
        .seq = seq,
        .resumed = sn->resumed};

    if (table)
        r.table = (struct text){table->name, strlen(table->name)};
    sn->answered = true;
    session_reply(sub->session, &r);
    if (sn->lost)
        session_resync(sub->session, sub, NULL, sn->lost);
}

/* It does not begin: the subscription ends with an error to its request. */
static void refuse(struct snapshot *sn, const struct error_text *why)
{
    const struct command cmd = {.request_id = {sn->id_len ? sn->id : NULL, sn->id_len}};
    struct subscription *sub = sn->sub;
    struct session *s = sub->session;

    leave(sn);
    session_error(s, &cmd, why);
    session_unsubscribe(s, session_find(s, sub->number));
}

static const char *reason_of(int status)
{
    switch (status) {
    case STATUS_CLOSED:
        return RESYNC_SNAPSHOT_TIMEOUT;
    case STATUS_CONFLICT:
        return RESYNC_SCHEMA_CHANGED;
    default:
        return RESYNC_SNAPSHOT_FAILED;
    }
}

/* It cannot be finished: the stream is live from here. */
static void give_up(struct snapshot *sn, int status)
{
    struct subscription *sub = sn->sub;

    if (!sn->answered)
        answer(sn, NULL, sn->shard->seq);
    session_resync(sub->session, sub, NULL, reason_of(status));
    leave(sn);
    /* The client of a stream takes it anew by coming back. */
    if (session_is_stream(sub->session))
        conn_close(sub->session->conn, WS_CLOSE_NORMAL, NULL);
}

void snapshot_cancel(struct snapshot *sn)
{
    static const struct error_text why = {
        .code = ERROR_CONFLICT, .message = "the subscription ended before its snapshot began"};
    struct session *s;

    if (!sn)
        return;
    s = sn->sub->session;
    if (!sn->answered && !conn_closing(s->conn)) {
        const struct command cmd = {.request_id = {sn->id_len ? sn->id : NULL, sn->id_len}};

        session_error(s, &cmd, &why);
    }
    leave(sn);
}

void snapshot_drop(struct session *s)
{
    while (!list_empty(&s->work->snapshots)) {
        struct snapshot *sn = list_entry(s->work->snapshots.next, struct snapshot, node);

        if (!sn->answered)
            answer(sn, NULL, s->shard->seq);
        leave(sn);
    }
}

bool snapshot_shows_before(const struct snapshot *sn, uint64_t seq)
{
    return sn->answered && sn->scan.seq < seq;
}

bool snapshot_lose(struct session *s, uint64_t seq)
{
    struct list *n, *next;
    bool any = false;

    for (n = s->work->snapshots.next; n != &s->work->snapshots; n = next) {
        struct snapshot *sn = list_entry(n, struct snapshot, node);

        next = n->next;
        if (!snapshot_shows_before(sn, seq))
            continue;
        leave(sn);
        any = true;
    }
    return any;
}

/* All rows are written. */
static void arrive(struct snapshot *sn)
{
    struct subscription *sub = sn->sub;
    uint64_t seq = sn->scan.seq;

    leave(sn);
    if (seq != sub->session->shard->seq && replay_start(sub->session, sub, NULL, seq) < 0)
        session_fail(sub->session);
}

/* Beginning. */

bool snapshot_allowed(struct session *s, const struct command *cmd)
{
    static const struct error_text busy = {.code = ERROR_LIMIT_EXCEEDED,
        .busy = true,
        .message = "too many snapshots are under way on this server: try again later"};

    if (!s->shard->options->db)
        session_refuse(s, cmd, ERROR_INVALID_FORMAT, "this server has no snapshots");
    else if (s->snapshot_count >= SESSION_SNAPSHOTS)
        session_refuse(s, cmd, ERROR_LIMIT_EXCEEDED,
            "a connection may have at most %d snapshots under way: wait for one to end",
            SESSION_SNAPSHOTS);
    else if (s->shard->snapshot_count >= SHARD_SNAPSHOTS)
        session_error(s, cmd, &busy);
    else
        return true;
    return false;
}

int snapshot_start(struct subscription *sub, const struct command *cmd, const char *lost)
{
    size_t len = cmd->request_id.p ? cmd->request_id.len : 0;
    struct session *s = sub->session;
    struct snapshot *sn = session_work(s) == 0 ? mem_zalloc(sizeof(*sn) + len) : NULL;

    if (!sn)
        return STATUS_NOMEM;
    if (len)
        memcpy(sn->id, cmd->request_id.p, len);
    sn->id_len = len;
    sn->resumed = cmd->since != SINCE_NOW;
    sn->lost = lost;
    sn->shard = s->shard;
    sn->sub = sub;
    sub->snapshot = sn;
    list_init(&sn->ready);
    list_add_tail(&s->work->snapshots, &sn->node);
    s->snapshot_count++;
    s->shard->snapshot_count++;
    sn->scan.done = step_done;
    sn->scan.ctx = sn;
    sn->scan.page_bytes = PAGE_BYTES;
    ask(sn, SCAN_OPEN);
    return 0;
}

/* As the definition in the snapshot has them. STATUS_NOMEM, or the failure of a filter or column.
 */
static int bind(struct snapshot *sn, const struct table *table, struct error_text *err)
{
    struct shard *s = sn->shard;
    struct view view;
    int status = view_init(&view, &sn->filter, &s->topics, &s->replay_columns, table, sn->sub, err);

    sn->scan.table = table;
    if (status < 0)
        return status;
    sn->projection = view.change;
    view.change = NULL;
    view_fini(&view);
    if (!sn->filter->term_count)
        return 0;
    sn->scan.keep = keep;
    status = filter_put_sql(sn->filter, table, &sn->where, &sn->scan.params, &sn->scan.param_count);
    if (status == 0)
        sn->scan.where = buf_text(&sn->where);
    return status == STATUS_NOMEM ? status : 0;
}

static void opened(struct snapshot *sn)
{
    const struct topic *topic = sn->sub->topic;
    struct error_text err = {.code = ERROR_NOT_FOUND, .message = "the table has been dropped"};
    const struct table *table;
    int status;

    if (sn->scan.status < 0) {
        give_up(sn, sn->scan.status);
        return;
    }
    table = schema_find(sn->scan.schema, topic->name, topic->len);
    status = table && table_has_events(table) ? bind(sn, table, &err) : STATUS_NOT_FOUND;
    if (status == STATUS_NOMEM) {
        session_fail(sn->sub->session);
        leave(sn);
    } else if (status < 0) {
        refuse(sn, &err);
    } else {
        answer(sn, table, sn->scan.seq);
        ask(sn, SCAN_PAGE);
    }
}

/* Writing. */

static size_t message_max(const struct shard *s)
{
    size_t max = s->options->max_queue / 4;

    return max < MESSAGE_MAX ? max : MESSAGE_MAX;
}

/* The rows of the next message. STATUS_NOMEM. */
static int put_rows(struct snapshot *sn)
{
    struct buf *rows = &sn->shard->rows;
    const struct batch *b = sn->page;
    size_t max = message_max(sn->shard);

    buf_reset(rows);
    while (sn->next < b->change_count && rows->len < max) {
        const struct change_message m = {.epoch = sn->shard->options->epoch,
            .change = &b->changes[sn->next],
            .columns = projection_columns(sn->projection)};
        size_t len = rows->len;

        sn->sub->session->dialect->put_row(rows, &m);
        if (buf_error(rows))
            return STATUS_NOMEM;
        if (len && rows->len > max) {
            buf_truncate(rows, len);
            break;
        }
        sn->next++;
    }
    return 0;
}

static bool page_written(const struct snapshot *sn)
{
    return sn->next == sn->page->change_count;
}

static void send_rows(struct snapshot *sn)
{
    struct session *s = sn->sub->session;
    struct buf *rows = &sn->shard->rows;
    struct reply r = {.type = REPLY_SNAPSHOT,
        .table = {sn->scan.table->name, strlen(sn->scan.table->name)},
        .subscriptions = &sn->sub->number,
        .subscription_count = 1,
        .seq = sn->scan.seq,
        .position = sn->scan.seq};

    if (put_rows(sn) < 0) {
        session_fail(s);
    } else {
        r.rows = (struct text){rows->data, rows->len};
        r.last = r.resumable = sn->last && page_written(sn);
        /* A page may be without rows, but the last says so. */
        if (rows->len || r.last)
            session_reply(s, &r);
    }
    if (rows->cap > ROWS_KEPT)
        buf_fini(rows);
}

/* Goes on with the page that has come, or has one read. */
static void turn_page(struct snapshot *sn)
{
    if (!sn->away && sn->scan.batch) {
        sn->page = sn->scan.batch;
        sn->scan.batch = NULL;
        sn->next = 0;
        sn->last = sn->scan.last;
        list_add_tail(&sn->shard->snapshots, &sn->ready);
    }
    /* The one after it is read while this one is written. */
    if (!sn->last && !sn->away)
        ask(sn, SCAN_PAGE);
}

static bool is_full(struct snapshot *sn)
{
    struct conn *c = sn->sub->session->conn;
    size_t high = replay_queue_high(sn->shard);

    if (conn_queued(c) < high && !sn->sub->session->slow)
        return false;
    sn->full = true;
    conn_want_drained(c, high / 2);
    return true;
}

void snapshot_run(struct shard *s)
{
    struct snapshot *sn = list_entry(s->snapshots.next, struct snapshot, ready);
    struct conn *c = sn->sub->session->conn;

    list_del(&sn->ready);
    if (!conn_closing(c)) {
        if (is_full(sn))
            return;
        if (sn->page)
            send_rows(sn);
    }
    if (conn_closing(c)) {
        leave(sn);
    } else if (!sn->page || page_written(sn)) {
        batch_unref(sn->page);
        sn->page = NULL;
        if (sn->last)
            arrive(sn);
        else
            turn_page(sn);
    } else {
        list_add_tail(&s->snapshots, &sn->ready);
    }
}

void snapshot_drained(struct session *s)
{
    for (struct list *n = s->work->snapshots.next; n != &s->work->snapshots; n = n->next) {
        struct snapshot *sn = list_entry(n, struct snapshot, node);

        if (!sn->full)
            continue;
        sn->full = false;
        list_add_tail(&s->shard->snapshots, &sn->ready);
    }
    if (!list_empty(&s->shard->snapshots))
        shard_wake(s->shard);
}

static void page_came(struct snapshot *sn)
{
    if (sn->scan.status < 0)
        give_up(sn, sn->scan.status);
    else if (!sn->page && list_empty(&sn->ready) && !sn->full)
        list_add_tail(&sn->shard->snapshots, &sn->ready);
}

/* On the loop, or in hub_free with no receiver. */
static void run_returned(struct message *m, void *receiver)
{
    struct scan *scan = list_entry(m, struct scan, message);
    struct snapshot *sn = scan->ctx;
    struct shard *s = receiver;

    sn->away = false;
    if (!s) {
        snapshot_free(sn);
    } else if (scan->step == SCAN_CLOSE) {
        s->snapshot_count--;
        snapshot_free(sn);
    } else if (!sn->sub) {
        ask(sn, SCAN_CLOSE);
    } else if (scan->step == SCAN_OPEN) {
        opened(sn);
    } else {
        page_came(sn);
    }
}
