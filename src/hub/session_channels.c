#include "hub/session.h"

#include "base/mem.h"
#include "base/status.h"
#include "hub/presence.h"
#include "hub/query_news.h"
#include "hub/replay.h"
#include "hub/shard.h"

uint32_t session_membership(const struct session *s, struct text name)
{
    struct channel *c = channel_find(&s->shard->channels, name.p, name.len);
    uint32_t i = 0;

    if (!c)
        return s->membership_count;
    while (i < s->membership_count && s->memberships[i]->channel != c)
        i++;
    return i;
}

bool session_in_tables(const struct session *s)
{
    uint32_t i = 0;

    while (i < s->membership_count && !channel_is_tables(s->memberships[i]->channel))
        i++;
    return i < s->membership_count;
}

static bool is_queries(const struct channel *c)
{
    return channel_is(c->name, c->len, QUERY_CHANNEL);
}

int session_join(struct session *s, const struct command *cmd)
{
    uint32_t place = session_membership(s, cmd->channel), cap = s->membership_cap;
    struct membership **array, *m;

    if (place < s->membership_count) {
        s->memberships[place]->self = cmd->self;
        return 0;
    }
    if (place == cap) {
        cap = cap ? cap * 2 : 1;
        array = mem_realloc(s->memberships, cap * sizeof(*array));
        if (!array)
            return STATUS_NOMEM;
        s->memberships = array;
        s->membership_cap = cap;
    }
    m = channel_join(&s->shard->channels, cmd->channel.p, cmd->channel.len, s);
    if (!m)
        return STATUS_NOMEM;
    m->self = cmd->self;
    m->from = s->shard->seq;
    s->memberships[s->membership_count++] = m;
    atomic_fetch_add_explicit(&s->shard->memberships, 1, memory_order_relaxed);
    if (is_queries(m->channel))
        query_news_count(s->shard, 1);
    return 0;
}

void session_leave(struct session *s, uint32_t place)
{
    const struct channel *c = s->memberships[place]->channel;
    bool present = channel_is(c->name, c->len, CHANNEL_COLLABORATION);

    if (is_queries(s->memberships[place]->channel))
        query_news_count(s->shard, -1);
    replay_cancel(s->memberships[place]->follower);
    channel_leave(&s->shard->channels, s->memberships[place]);
    atomic_fetch_sub_explicit(&s->shard->memberships, 1, memory_order_relaxed);
    s->memberships[place] = s->memberships[--s->membership_count];
    if (present)
        presence_leave(s);
}
