#include "hub/session.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "hub/broadcast.h"
#include "hub/changeset.h"
#include "hub/command.h"
#include "hub/limits.h"
#include "hub/login.h"
#include "hub/permit.h"
#include "hub/poll.h"
#include "hub/query.h"
#include "hub/replay.h"
#include "hub/request.h"
#include "hub/session_log.h"
#include "hub/shard.h"
#include "hub/slow.h"
#include "hub/snapshot.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct dialect *session_dialect(const struct session *s)
{
    return s->dialect;
}

bool session_is_stream(const struct session *s)
{
    return s->dialect->put_keep_alive;
}

void session_fail(struct session *s)
{
    conn_close_now(s->conn, WS_CLOSE_INTERNAL, "out of memory", NULL, 0);
}

/* Of all sessions without any; nothing is ever added to it. */
static struct session_work no_work = {
    .snapshots = {&no_work.snapshots, &no_work.snapshots},
    .replays = {&no_work.replays, &no_work.replays},
    .requests = {&no_work.requests, &no_work.requests},
    .queries = {&no_work.queries, &no_work.queries},
    .broadcasts = {&no_work.broadcasts, &no_work.broadcasts},
};

int session_work(struct session *s)
{
    struct session_work *w;

    if (s->work != &no_work)
        return 0;
    w = mem_zalloc(sizeof(*w));
    if (!w)
        return STATUS_NOMEM;
    list_init(&w->snapshots);
    list_init(&w->replays);
    list_init(&w->requests);
    list_init(&w->queries);
    list_init(&w->broadcasts);
    s->work = w;
    return 0;
}

/* Replies. */

void session_put_reply(struct session *s, struct buf *out, struct reply *r)
{
    r->connection = conn_id(s->conn);
    r->number = ++s->replies;
    r->time_ms = clock_wall_ms();
    r->epoch = s->shard->options->epoch;
    r->headers = s->headers;
    s->dialect->put_reply(out, r);
    if (s->poll)
        return;
    mem_free(s->headers);
    s->headers = NULL;
}

void session_reply(struct session *s, struct reply *r)
{
    struct buf *out = &s->shard->scratch;

    if (s->poll && poll_takes(s->poll, r))
        return;
    buf_reset(out);
    session_put_reply(s, out, r);
    if (buf_error(out))
        session_fail(s);
    else if (r->type == REPLY_SNAPSHOT)
        conn_send(s->conn, out->data, out->len, NULL);
    else
        conn_send_text(s->conn, out->data, out->len);
    if (session_is_stream(s) && (r->type == REPLY_ERROR || s->dialect->once))
        conn_close(s->conn, WS_CLOSE_NORMAL, NULL);
}

void session_error(struct session *s, const struct command *cmd, const struct error_text *e)
{
    struct reply r = {.type = REPLY_ERROR,
        .request_id = cmd->request_id,
        .code = e->code,
        .message = e->message,
        .busy = e->busy,
        .retry_ms = e->retry_ms,
        .query_id = cmd->query_id};

    session_log_refused(s, e->code);
    session_reply(s, &r);
}

void session_refuse(
    struct session *s, const struct command *cmd, const char *code, const char *fmt, ...)
{
    struct error_text e = {.code = code};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(e.message, sizeof(e.message), fmt, ap);
    va_end(ap);
    session_error(s, cmd, &e);
}

void session_end(struct session *s, struct reply *r, int code)
{
    struct buf last = {0};

    if (s->poll) {
        poll_finish(s->poll);
        return;
    }
    if (!session_is_stream(s))
        session_put_reply(s, &last, r);
    conn_close_now(s->conn, code, r->message, buf_error(&last) ? NULL : last.data, last.len);
    buf_fini(&last);
}

void session_resync(struct session *s, const struct subscription *sub, const struct membership *m,
    const char *reason)
{
    struct reply r = {.type = REPLY_RESYNC, .reason = reason, .position = s->shard->seq};

    r.resumable = !(sub && sub->snapshot);
    if (sub) {
        r.subscriptions = &sub->number;
        r.subscription_count = 1;
    } else {
        r.channel = (struct text){m->channel->name, m->channel->len};
    }
    session_reply(s, &r);
}

void session_slow(void *owner, struct buf *last)
{
    struct reply r = {.type = REPLY_RESYNC, .reason = "slow_consumer"};
    struct session *s = owner;

    session_log_slow(s, "closed");
    if (s->poll)
        r = poll_too_large();
    session_put_reply(s, last, &r);
}

/* Coming, speaking and going. */

static void run(struct session *s, const struct command *cmd)
{
    if (s->poll)
        poll_begin(s->poll, cmd);
    command_run(s, cmd);
}

static void hear(struct session *s, const char *data, size_t len)
{
    struct command cmd;

    if (s->dialect->decode(&cmd, data, len) < 0)
        session_fail(s);
    else if (!limits_allow(s, &cmd))
        ;
    else if (cmd.error.code)
        session_error(s, &cmd, &cmd.error);
    else
        run(s, &cmd);
    s->dialect->command_fini(&cmd);
}

static int on_message(void *owner, enum ws_opcode opcode, const char *data, size_t len)
{
    static const struct command none;
    struct session *s = owner;

    if (opcode == WS_TEXT)
        hear(s, data, len);
    else if (limits_allow(s, NULL))
        session_refuse(
            s, &none, ERROR_INVALID_FORMAT, "binary messages are not understood: send text");
    return conn_closing(s->conn) ? STATUS_CLOSED : 0;
}

void arrival_free(struct arrival *a)
{
    shard_leave(a->shard);
    limits_free(a->limits);
    identity_unref(a->who);
    mem_free(a->address);
    mem_free(a->request);
    mem_free(a->headers);
    mem_free(a);
}

static void on_refused(void *start_ctx)
{
    arrival_free(start_ctx);
}

static void send_ack(struct session *s)
{
    const struct hub_options *o = s->shard->options;
    struct reply r = {
        .type = REPLY_ACK,
        .user_id = session_user(s),
        .version = o->version,
        .seq = s->shard->seq,
        .heartbeat_ms = o->heartbeat_ms,
        .max_message = o->max_message,
        .notifications = s->notifications,
    };

    session_reply(s, &r);
}

static void *on_open(struct conn *c, void *start_ctx)
{
    struct arrival *a = start_ctx;
    static const struct text notifications = {
        CHANNEL_NOTIFICATIONS, sizeof(CHANNEL_NOTIFICATIONS) - 1};
    struct topics *t = &a->shard->topics;
    size_t address_size = strlen(a->address) + 1;
    struct session *s = mem_zalloc(sizeof(*s) + address_size);

    if (a->window_bits)
        conn_compress(c, a->window_bits);
    if (s)
        s->whole =
            projection_get(&t->whole, &t->projections, a->dialect, PROJECTION_AS_IT_IS, NULL, 0);
    if (s && a->dialect->once)
        s->poll = poll_new(s);
    if (!s || !s->whole || (a->dialect->once && !s->poll)) {
        if (s && s->whole)
            projection_put(s->whole);
        if (s)
            poll_free(s->poll);
        mem_free(s);
        arrival_free(a);
        return NULL;
    }
    list_init(&s->drained);
    s->work = &no_work;
    s->subs = &s->first;
    s->sub_cap = 1;
    list_add_tail(&a->shard->sessions, &s->node);
    s->conn = c;
    s->shard = a->shard;
    s->since_ms = clock_wall_ms();
    s->dialect = a->dialect;
    s->who = a->who;
    s->policy = a->shard->policy ? policy_ref(a->shard->policy) : NULL;
    memcpy(s->address, a->address, address_size);
    s->headers = a->headers;
    s->limits = a->limits;
    s->notifications = s->notifications_self =
        !session_is_stream(s) && permit_join(s, notifications);
    s->opened_ns = clock_mono_ns();
    session_log_opened(s);
    if (login_enter(s) < 0)
        session_fail(s);
    else if (session_is_stream(s))
        hear(s, a->request, strlen(a->request));
    else
        send_ack(s);
    mem_free(a->address);
    mem_free(a->request);
    mem_free(a);
    return s;
}

static void on_closed(void *owner, int code)
{
    struct session *s = owner;

    session_log_closed(s, code);
    query_drop(s);
    poll_free(s->poll);
    request_cancel_all(s);
    while (s->sub_count)
        session_unsubscribe(s, s->sub_count - 1);
    while (s->membership_count)
        session_leave(s, s->membership_count - 1);
    broadcast_forget_sender(s);
    changeset_free(s->changeset);
    list_del(&s->drained);
    list_del(&s->node);
    shard_leave(s->shard);
    limits_free(s->limits);
    projection_put(s->whole);
    if (s->subs != &s->first)
        mem_free(s->subs);
    mem_free(s->memberships);
    if (s->work != &no_work)
        mem_free(s->work);
    login_leave(s);
    policy_unref(s->policy);
    mem_free(s->headers);
    mem_free(s);
}

/* A stream through with the past has heard all that the shard has handled. */
static void on_keep_alive(void *owner, struct buf *out)
{
    const struct session *s = owner;
    bool settled =
        list_empty(&s->work->replays) && list_empty(&s->work->snapshots) && !s->changeset;

    s->dialect->put_keep_alive(out, settled ? s->shard->options->epoch : NULL, s->shard->seq);
}

static void on_stopping(void *owner)
{
    struct session *s = owner;

    if (s->poll)
        poll_end(s->poll);
}

static void on_drained(void *owner)
{
    struct session *s = owner;

    if (s->slow) {
        slow_drained(s);
        return;
    }
    replay_drained(s);
    snapshot_drained(s);
    query_drained(s);
}

const struct conn_ops session_ops = {
    .open = on_open,
    .message = on_message,
    .drained = on_drained,
    .forgotten = slow_begin,
    .closed = on_closed,
    .refused = on_refused,
};

const struct conn_ops session_stream_ops = {
    .open = on_open,
    .drained = on_drained,
    .closed = on_closed,
    .refused = on_refused,
    .keep_alive = on_keep_alive,
    .stopping = on_stopping,
};
