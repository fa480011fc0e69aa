#include "hub/query_news.h"

#include "access/grant.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "capture/database.h"
#include "hub/session.h"
#include "hub/shard.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* One report on its way through the loops: from one to the next, the last one frees it. */
struct news {
    struct message message;
    struct hub *hub;
    int next; /* loop */
    enum reply_type type;
    struct query_report report;
    struct sql_error error;
    uint64_t number;
    int64_t time_ms;
    char text[]; /* id, user, SQL */
};

static struct body *encode(struct shard *s, const struct dialect *d, const struct news *n)
{
    struct buf *out = &s->scratch;
    const struct reply r = {
        .type = n->type,
        .connection = n->report.connection,
        .number = n->number,
        .time_ms = n->time_ms,
        .channel = {QUERY_CHANNEL, strlen(QUERY_CHANNEL)},
        .epoch = s->options->epoch,
        .query = &n->report,
    };

    buf_reset(out);
    d->put_reply(out, &r);
    return buf_error(out) ? NULL : body_new(out->data, out->len);
}

/* The text names tables: who may not read all of them is told only what their own user runs. */
static bool may_hear(const struct session *s, const struct query_report *r)
{
    const char *user = session_user(s);

    return grant_reads_all(s->policy, s->who) ||
           (user && r->user.p && strlen(user) == r->user.len &&
               memcmp(user, r->user.p, r->user.len) == 0);
}

/* Members of one dialect stand together seldom, but there are few dialects. */
static void deliver(struct shard *s, const struct news *n)
{
    struct channel *c = channel_find(&s->channels, QUERY_CHANNEL, strlen(QUERY_CHANNEL));
    const struct dialect *dialect = NULL;
    struct body *body = NULL;

    for (struct list *l = c ? c->members.next : NULL; c && l != &c->members; l = l->next) {
        struct membership *m = list_entry(l, struct membership, node);
        struct session *to = m->session;

        if (!session_hears(to) || (!m->self && conn_id(to->conn) == n->report.connection) ||
            !may_hear(to, &n->report))
            continue;
        if (to->dialect != dialect) {
            body_unref(body);
            dialect = to->dialect;
            body = encode(s, dialect, n);
        }
        if (!body)
            session_fail(to);
        else
            conn_send(to->conn, NULL, 0, body);
    }
    body_unref(body);
}

static void run_news(struct message *m, void *receiver);

/* Through every loop, whether somebody listens there or not, so that none overtakes another. */
static bool pass_on(struct news *n)
{
    struct shard *s = hub_shard(n->hub, n->next++);

    n->message.run = run_news;
    return s && hub_post(n->hub, s, &n->message);
}

static void run_news(struct message *m, void *receiver)
{
    struct news *n = list_entry(m, struct news, message);

    deliver(receiver, n);
    if (!pass_on(n))
        mem_free(n);
}

static bool anybody(const struct hub *h)
{
    struct shard *s;

    for (int i = 0; (s = hub_shard(h, i)); i++)
        if (atomic_load_explicit(&s->query_listeners, memory_order_relaxed))
            return true;
    return false;
}

static struct text copy(char **at, struct text t)
{
    struct text copied = {t.p ? *at : NULL, t.len};

    if (t.len)
        memcpy(*at, t.p, t.len);
    *at += t.len;
    return copied;
}

void query_news(struct session *from, enum reply_type type, const struct query_report *r)
{
    struct hub *hub = from->shard->hub;
    struct text user = {session_user(from), session_user(from) ? strlen(session_user(from)) : 0};
    struct news *n;
    char *at;

    if (!anybody(hub))
        return;
    n = mem_zalloc(sizeof(*n) + r->id.len + user.len + r->sql.len);
    if (!n)
        return;
    at = n->text;
    n->hub = hub;
    n->type = type;
    n->number = ++from->replies;
    n->time_ms = clock_wall_ms();
    n->report = *r;
    n->report.id = copy(&at, r->id);
    n->report.user = copy(&at, user);
    n->report.sql = copy(&at, r->sql);
    n->report.connection = conn_id(from->conn);
    n->report.columns = n->report.rows = (struct text){0};
    n->report.results = false;
    if (r->error) {
        n->error = *r->error;
        n->report.error = &n->error;
    }
    if (!pass_on(n))
        mem_free(n);
}

void query_news_count(struct shard *s, int more)
{
    atomic_fetch_add_explicit(&s->query_listeners, more, memory_order_relaxed);
}
