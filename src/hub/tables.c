#include "hub/tables.h"

#include "base/text.h"
#include "hub/changeset.h"
#include "hub/fanout.h"
#include "hub/replay.h"
#include "hub/session.h"
#include "hub/shard.h"

#include <string.h>

static bool names(const struct table *t, const struct topic *topic)
{
    return t && text_same_nocase(topic->name, topic->len, t->name, strlen(t->name));
}

/* DDL. */

bool tables_may_know(const struct fanout *f, const struct session *s)
{
    const struct change *c = f->change;

    return view_allows_all(s, c->table) && (!c->old_table || view_allows_all(s, c->old_table));
}

static bool hears_of_it(const struct fanout *f, const struct subscription *sub)
{
    const struct session *s = sub->session;

    return fanout_hears(f, sub) && !session_in_tables(s) && tables_may_know(f, s);
}

static void match(struct fanout *f, struct subscription *sub)
{
    if (hears_of_it(f, sub))
        fanout_match(f, sub, sub->session->whole, false, false);
}

static void match_topic(struct fanout *f, const struct topic *topic)
{
    if (!topic)
        return;
    for (struct list *n = topic->subscriptions.next; n != &topic->subscriptions; n = n->next) {
        struct subscription *sub = list_entry(n, struct subscription, node);

        if (!sub->follower && !sub->snapshot)
            match(f, sub);
    }
}

static void tell_channel(struct fanout *f)
{
    struct channel *channel = channel_find(&f->shard->channels, "tables", strlen("tables"));

    if (!channel)
        return;
    for (struct list *n = channel->members.next; n != &channel->members; n = n->next) {
        struct membership *m = list_entry(n, struct membership, node);

        if (!m->follower)
            fanout_tell(f, m);
    }
}

static void deliver_ddl(struct fanout *f)
{
    const struct change *c = f->change;
    struct topics *t = &f->shard->topics;
    const struct topic *topic = topics_find(t, c->table);

    match_topic(f, topic);
    if (c->old_table && topics_find(t, c->old_table) != topic)
        match_topic(f, topics_find(t, c->old_table));
    tell_channel(f);
    fanout_deliver(f);
}

/*
 * A creation is news to who has heard that there was no such table; in the past from the beginning
 * on, and for who resumes, it is not: the table is there.
 */
static bool is_news(const struct change *c, struct follower *w)
{
    const struct topic *topic = w->sub->topic;
    bool is = topic && names(c->table, topic), was = topic && names(c->old_table, topic);
    bool news = c->kind != CHANGE_TABLE_CREATED || w->gone;

    if (is || was)
        w->gone = !is || c->kind == CHANGE_TABLE_DROPPED;
    return (is || was) && news;
}

static void follow_ddl(struct fanout *f, struct replay *r)
{
    for (struct list *n = r->followers.next; n != &r->followers; n = n->next) {
        struct follower *w = list_entry(n, struct follower, node);

        if (w->membership)
            fanout_tell(f, w->membership);
        else if (is_news(f->change, w))
            match(f, w->sub);
    }
    fanout_deliver(f);
}

/* Rowids. */

static void resync(const struct fanout *f, struct subscription *sub)
{
    const char *name = f->change->table->name;
    struct session *s = sub->session;
    struct reply r = {.type = REPLY_RESYNC,
        .reason = RESYNC_ROWIDS_RENUMBERED,
        .table = {name, strlen(name)},
        .subscriptions = &sub->number,
        .subscription_count = 1,
        .seq = f->change->seq,
        .resumable = true,
        .position = f->change->seq};

    if (!session_hears(s))
        return;
    /* What came before it comes first. */
    changeset_split(s->changeset);
    session_reply(s, &r);
}

static void resync_live(const struct fanout *f, const struct list *subscriptions)
{
    for (struct list *n = subscriptions->next; n != subscriptions; n = n->next) {
        struct subscription *sub = list_entry(n, struct subscription, node);

        if (!sub->follower && !sub->snapshot)
            resync(f, sub);
    }
}

static void follow_rowids(struct fanout *f, struct replay *r)
{
    for (struct list *n = r->followers.next; n != &r->followers; n = n->next) {
        struct subscription *sub = list_entry(n, struct follower, node)->sub;

        if (sub && (!sub->topic || names(f->change->table, sub->topic)))
            resync(f, sub);
    }
}

void tables_deliver(struct fanout *f)
{
    const struct topic *topic;

    if (f->change->kind != CHANGE_ROWIDS_RENUMBERED) {
        deliver_ddl(f);
        return;
    }
    topic = topics_find(&f->shard->topics, f->change->table);
    if (topic)
        resync_live(f, &topic->subscriptions);
    resync_live(f, &f->shard->topics.every);
}

void tables_follow(struct fanout *f, struct replay *r)
{
    if (f->change->kind == CHANGE_ROWIDS_RENUMBERED)
        follow_rowids(f, r);
    else
        follow_ddl(f, r);
}
