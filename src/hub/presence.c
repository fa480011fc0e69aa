#include "hub/presence.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/status.h"
#include "hub/news.h"
#include "hub/presence_parts.h"
#include "hub/session.h"
#include "hub/shard.h"

#include <stdio.h>
#include <string.h>

#define LISTED_MAX 64 /* users named in user:joined and user:left */

void presence_init(struct presence_room *room)
{
    list_init(&room->present);
    for (int i = 0; i < PRESENCE_BUCKETS; i++)
        list_init(&room->buckets[i]);
    list_init(&room->unsaid);
    list_init(&room->fresh);
    list_init(&room->moved);
}

struct copy *presence_copy(const struct shard *shard, struct presence *p)
{
    return &p->at[loop_id(shard->loop)];
}

static void release(struct presence *p)
{
    if (atomic_fetch_sub_explicit(&p->copies, 1, memory_order_acq_rel) == 1)
        mem_free(p);
}

/* A loop's copy. */

static bool same_user(const struct presence *a, const struct presence *b)
{
    return a->nobody == b->nobody && a->user.len == b->user.len &&
           memcmp(a->user.p, b->user.p, a->user.len) == 0;
}

/* Another connection of the user, or NULL. */
static struct copy *find_user(struct presence_room *room, const struct presence *p)
{
    struct list *bucket = &room->buckets[p->bucket];

    for (struct list *i = bucket->next; i != bucket; i = i->next) {
        struct copy *c = list_entry(i, struct copy, bucket);

        if (c->presence != p && same_user(c->presence, p))
            return c;
    }
    return NULL;
}

static void link_copy(struct presence_room *room, struct copy *c, struct copy *of_user)
{
    list_add_tail(of_user ? of_user->node.next : &room->present, &c->node);
    list_add_tail(&room->buckets[c->presence->bucket], &c->bucket);
    room->connections++;
    room->users += !of_user;
}

static void unlink_copy(struct presence_room *room, struct copy *c)
{
    list_del(&c->node);
    list_del(&c->bucket);
    list_del(&c->moved);
    body_unref(c->body);
    c->body = NULL;
    room->connections--;
}

void presence_fini(struct presence_room *room)
{
    while (!list_empty(&room->present)) {
        struct copy *c = list_entry(room->present.next, struct copy, node);

        unlink_copy(room, c);
        release(c->presence);
    }
    buf_fini(&room->views);
}

struct text presence_position(const struct copy *c)
{
    return (struct text){c->place.len ? c->place.text : NULL, c->place.len};
}

/* Gives the reply the list of those who are there. STATUS_NOMEM: it has none. */
static int put_present(struct presence_room *room, struct reply *r)
{
    const struct presence *before = NULL;
    struct present *all;
    size_t n = 0;

    r->user_count = room->users;
    buf_reset(&room->views);
    all =
        (struct present *)(void *)buf_reserve(&room->views, (room->connections + 1) * sizeof(*all));
    if (!all)
        return STATUS_NOMEM;
    for (struct list *i = room->present.next; i != &room->present; i = i->next) {
        const struct copy *c = list_entry(i, struct copy, node);
        const struct presence *p = c->presence;

        all[n++] = (struct present){.user = p->user,
            .connection = p->connection,
            .same_user = before && same_user(before, p),
            .position = presence_position(c)};
        before = p;
    }
    r->present = all;
    r->present_count = n;
    return 0;
}

struct reply presence_reply(const struct presence *p, enum reply_type type)
{
    return (struct reply){.type = type,
        .connection = p->connection,
        .channel = {CHANNEL_COLLABORATION, strlen(CHANNEL_COLLABORATION)},
        .user = p->user};
}

static void tell_members(struct shard *shard, struct reply *r, const struct session *but)
{
    struct presence_room *room = &shard->room;

    r->user_count = room->users;
    if (room->users <= LISTED_MAX)
        put_present(room, r);
    news_to_channel(shard, r, but, 0);
}

/* Coming. `who`: the session, on its own loop. */

static void enter(struct shard *shard, struct copy *c, const struct session *who)
{
    struct copy *of_user = find_user(&shard->room, c->presence);
    struct reply r = presence_reply(c->presence, REPLY_USER_JOINED);

    link_copy(&shard->room, c, of_user);
    r.number = c->presence->joined_id;
    r.time_ms = c->presence->joined_ms;
    if (!of_user)
        tell_members(shard, &r, who);
}

static void run_joined(struct message *m, void *receiver)
{
    enter(receiver, list_entry(m, struct copy, joined), NULL);
}

/* Going. */

/* A cursor that is gone while its user stays. */
static void hide_cursor(struct shard *shard, struct copy *c)
{
    struct reply r = presence_reply(c->presence, REPLY_USER_CURSOR);

    if (!c->place.len)
        return;
    r.number = c->presence->left_id;
    r.time_ms = c->presence->left_ms;
    news_to_channel(shard, &r, NULL, 0);
}

static void leave(struct shard *shard, struct copy *c)
{
    struct reply r = presence_reply(c->presence, REPLY_USER_LEFT);

    unlink_copy(&shard->room, c);
    if (find_user(&shard->room, c->presence)) {
        hide_cursor(shard, c);
    } else {
        shard->room.users--;
        r.number = c->presence->left_id;
        r.time_ms = c->presence->left_ms;
        tell_members(shard, &r, NULL);
    }
    release(c->presence);
}

static void run_left(struct message *m, void *receiver)
{
    leave(receiver, list_entry(m, struct copy, left));
}

/* The connection's own loop. */

static struct presence *create(const struct session *s)
{
    int loops = hub_loops(s->shard->hub);
    size_t copies = (size_t)loops * sizeof(struct copy);
    char nobody[48];
    const char *name = session_user(s) ? session_user(s) : nobody;
    struct presence *p;

    snprintf(nobody, sizeof(nobody), "anonymous:c%llu", (unsigned long long)conn_id(s->conn));
    p = mem_zalloc(sizeof(*p) + copies + strlen(name));
    if (!p)
        return NULL;
    atomic_init(&p->copies, loops);
    p->connection = conn_id(s->conn);
    p->nobody = !session_user(s);
    p->user = (struct text){(char *)p->at + copies, strlen(name)};
    memcpy((char *)p->at + copies, name, p->user.len);
    p->bucket = hash_bytes(name, p->user.len) % PRESENCE_BUCKETS;
    p->joined_ms = clock_wall_ms();
    list_init(&p->unsaid);
    for (int i = 0; i < loops; i++) {
        struct copy *c = &p->at[i];

        c->joined.run = run_joined;
        c->left.run = run_left;
        c->presence = p;
        list_init(&c->node);
        list_init(&c->bucket);
        list_init(&c->moved);
    }
    return p;
}

/* One that the hub's end keeps from hearing of it has nothing to do with it. */
static void post_joined(const struct shard *home, struct presence *p)
{
    for (int i = 0; i < hub_loops(home->hub); i++) {
        struct shard *to = hub_shard(home->hub, i);

        if (to != home && !hub_post(home->hub, to, &p->at[i].joined))
            release(p);
    }
}

/* … and one that has heard of it but may not hear of its end lets go of it in presence_fini. */
static void post_left(const struct shard *home, struct presence *p)
{
    for (int i = 0; i < hub_loops(home->hub); i++) {
        struct shard *to = hub_shard(home->hub, i);

        if (to != home)
            hub_post(home->hub, to, &p->at[i].left);
    }
}

int presence_enter(struct session *s, struct membership *m, struct reply *r)
{
    struct presence_room *room = &s->shard->room;
    struct presence *p = s->presence;

    if (!channel_is(m->channel->name, m->channel->len, CHANNEL_COLLABORATION))
        return 0;
    if (!p) {
        p = create(s);
        if (!p)
            return STATUS_NOMEM;
        p->joined_id = ++s->replies;
        s->presence = p;
        enter(s->shard, presence_copy(s->shard, p), s);
        post_joined(s->shard, p);
    }
    m->told = room->seq;
    r->user = p->user;
    return put_present(room, r);
}

void presence_leave(struct session *s)
{
    struct presence *p = s->presence;

    if (!p)
        return;
    s->presence = NULL;
    p->left_id = ++s->replies;
    p->left_ms = clock_wall_ms();
    list_del(&p->unsaid);
    post_left(s->shard, p);
    leave(s->shard, presence_copy(s->shard, p));
}
