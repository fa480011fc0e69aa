#include "hub/news.h"

#include "hub/session.h"
#include "hub/shard.h"

static bool encode(struct news *n, const struct dialect *dialect)
{
    struct buf *out = &n->shard->scratch;

    if (n->body && n->dialect == dialect)
        return true;
    body_unref(n->body);
    n->dialect = dialect;
    n->reply->epoch = n->shard->options->epoch;
    buf_reset(out);
    dialect->put_reply(out, n->reply);
    n->body = buf_error(out) ? NULL : body_new(out->data, out->len);
    return n->body;
}

bool news_send(struct news *n, struct session *s)
{
    if (!session_hears(s))
        return false;
    if (encode(n, session_dialect(s)))
        return conn_send(s->conn, NULL, 0, n->body) == 0;
    session_fail(s);
    return false;
}

void news_end(struct news *n)
{
    body_unref(n->body);
    n->body = NULL;
}

/* Streams have no channels but "tables". */
static size_t to_everyone(struct news *n, const struct session *but, uint64_t author)
{
    struct list *l = &n->shard->sessions;
    size_t count = 0;

    for (struct list *i = l->next; i != l; i = i->next) {
        struct session *s = list_entry(i, struct session, node);

        if (s->notifications && s != but && (s->notifications_self || conn_id(s->conn) != author))
            count += news_send(n, s);
    }
    return count;
}

static size_t to_members(
    struct news *n, const struct channel *c, const struct session *but, uint64_t author)
{
    size_t count = 0;

    for (struct list *i = c->members.next; i != &c->members; i = i->next) {
        struct membership *m = list_entry(i, struct membership, node);

        if (m->session != but && (m->self || conn_id(m->session->conn) != author))
            count += news_send(n, m->session);
    }
    return count;
}

size_t news_to_channel(
    struct shard *shard, struct reply *r, const struct session *but, uint64_t author)
{
    struct news n = {.shard = shard, .reply = r};
    struct text name = r->channel;
    const struct channel *c = channel_find(&shard->channels, name.p, name.len);
    size_t count = 0;

    if (channel_is(name.p, name.len, CHANNEL_NOTIFICATIONS))
        count = to_everyone(&n, but, author);
    else if (c)
        count = to_members(&n, c, but, author);
    news_end(&n);
    return count;
}
