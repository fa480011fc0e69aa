#include "hub/moves.h"

#include "base/clock.h"
#include "base/mem.h"
#include "hub/news.h"
#include "hub/presence_parts.h"
#include "hub/session.h"
#include "hub/shard.h"

#include <string.h>

#define WAITING_MAX 65536 /* bytes; a connection with more waiting is told no moves */
#define SHARE 4           /* telling takes at most one in so many parts of the time */
#define MEASURED 256      /* messages; the costs of fewer are not worth a look */

/* From one loop to the others. */
struct moves {
    atomic_int copies;
    size_t count;
    struct move {
        struct presence *presence;
        struct place place;
    } * all;
    struct hop {
        struct message message;
        struct moves *moves;
    } hops[];
};

static void move(struct presence_room *room, struct copy *c, const struct place *to)
{
    c->place.number = to->number;
    c->place.time_ms = to->time_ms;
    c->place.len = to->len;
    memcpy(c->place.text, to->text, to->len);
    list_del(&c->moved);
    list_add_tail(&room->fresh, &c->moved);
}

void moves_take(struct session *s, const struct command *cmd)
{
    struct presence_room *room = &s->shard->room;
    struct presence *p = s->presence;
    struct place to = {.len = cmd->data.len};

    if (!p) {
        session_refuse(s, cmd, ERROR_CONFLICT,
            "a cursor is shown in the channel collaboration: subscribe to that first");
        return;
    }
    if (to.len > PRESENCE_POSITION_MAX) {
        session_refuse(s, cmd, ERROR_TOO_LARGE, "a cursor's position may have at most %d bytes",
            PRESENCE_POSITION_MAX);
        return;
    }
    to.number = ++s->replies;
    to.time_ms = clock_wall_ms();
    if (to.len)
        memcpy(to.text, cmd->data.p, to.len);
    move(room, presence_copy(s->shard, p), &to);
    list_del(&p->unsaid);
    list_add_tail(&room->unsaid, &p->unsaid);
}

static void run_hop(struct message *m, void *receiver)
{
    struct moves *moves = list_entry(m, struct hop, message)->moves;
    struct shard *shard = receiver;

    for (size_t i = 0; i < moves->count; i++) {
        const struct move *one = &moves->all[i];

        move(&shard->room, presence_copy(shard, one->presence), &one->place);
    }
    if (atomic_fetch_sub_explicit(&moves->copies, 1, memory_order_acq_rel) == 1)
        mem_free(moves);
}

static struct moves *moves_new(size_t loops, size_t count)
{
    struct moves *m =
        mem_alloc(sizeof(*m) + loops * sizeof(m->hops[0]) + count * sizeof(struct move));

    if (!m)
        return NULL;
    m->all = (struct move *)&m->hops[loops];
    m->count = 0;
    atomic_init(&m->copies, 1);
    return m;
}

/* Tells the other loops. Without memory for it, the next time. */
static void say(struct shard *home)
{
    struct presence_room *room = &home->room;
    int loops = hub_loops(home->hub);
    struct moves *m;
    size_t count = 0;

    for (struct list *i = room->unsaid.next; i != &room->unsaid; i = i->next)
        count++;
    m = count && loops > 1 ? moves_new((size_t)loops, count) : NULL;
    if (count && loops > 1 && !m)
        return;
    while (!list_empty(&room->unsaid)) {
        struct presence *p = list_entry(room->unsaid.next, struct presence, unsaid);

        list_del(&p->unsaid);
        if (m)
            m->all[m->count++] = (struct move){p, presence_copy(home, p)->place};
    }
    for (int i = 0; m && i < loops; i++) {
        struct shard *to = hub_shard(home->hub, i);

        m->hops[i] = (struct hop){.message.run = run_hop, .moves = m};
        atomic_fetch_add_explicit(&m->copies, 1, memory_order_relaxed);
        if (to == home || !hub_post(home->hub, to, &m->hops[i].message))
            atomic_fetch_sub_explicit(&m->copies, 1, memory_order_relaxed);
    }
    if (m && atomic_fetch_sub_explicit(&m->copies, 1, memory_order_acq_rel) == 1)
        mem_free(m);
}

/* Numbers what has moved; its message is encoded when the first member needs it. */
static void take_fresh(struct presence_room *room)
{
    while (!list_empty(&room->fresh)) {
        struct copy *c = list_entry(room->fresh.next, struct copy, moved);

        list_del(&c->moved);
        list_add_tail(&room->moved, &c->moved);
        c->seq = ++room->seq;
        body_unref(c->body);
        c->body = NULL;
    }
}

static bool send_move(struct shard *shard, struct copy *c, struct session *s)
{
    struct news n = {.shard = shard, .dialect = c->dialect, .body = c->body};
    struct reply r;
    bool sent;

    if (!c->body || c->dialect != session_dialect(s)) {
        r = presence_reply(c->presence, REPLY_USER_CURSOR);
        r.number = c->place.number;
        r.time_ms = c->place.time_ms;
        r.data = presence_position(c);
        n.reply = &r;
    }
    sent = news_send(&n, s);
    c->body = n.body;
    c->dialect = n.dialect;
    return sent;
}

/*
 * Tells a member what has moved since it was told. It is all or nothing, so that nobody who moves
 * all the time is left out all the time, unless the bound of its queue is nearer.
 */
static size_t tell_moves(struct shard *shard, struct membership *m)
{
    struct presence_room *room = &shard->room;
    size_t bound = shard->options->max_queue / 2, count = 0;
    struct conn *conn = m->session->conn;
    struct list *i = room->moved.prev;

    if (m->told == room->seq || !session_hears(m->session))
        return 0;
    if (conn_queued(conn) > (bound < WAITING_MAX ? bound : WAITING_MAX)) {
        room->behind = true;
        return 0;
    }
    while (i != &room->moved && list_entry(i, struct copy, moved)->seq > m->told)
        i = i->prev;
    for (i = i->next; i != &room->moved; i = i->next) {
        struct copy *c = list_entry(i, struct copy, moved);

        if (conn_queued(conn) > bound) {
            room->behind = true;
            return count;
        }
        if (c->presence->connection != conn_id(conn))
            count += send_move(shard, c, m->session);
        m->told = c->seq;
    }
    return count;
}

static size_t tell_all(struct shard *shard)
{
    static const char name[] = CHANNEL_COLLABORATION;
    const struct channel *channel = channel_find(&shard->channels, name, sizeof(name) - 1);
    size_t count = 0;

    shard->room.behind = false;
    for (struct list *i = channel ? channel->members.next : NULL; i && i != &channel->members;
         i = i->next)
        count += tell_moves(shard, list_entry(i, struct membership, node));
    return count;
}

static void pause_for(struct presence_room *room, int64_t spent_ns)
{
    int64_t ms = SHARE * spent_ns / 1000000;

    room->next_ms = clock_mono_ms() + (ms > MOVES_PAUSE_MS ? ms : MOVES_PAUSE_MS);
}

void moves_run(struct shard *shard)
{
    struct presence_room *room = &shard->room;
    int64_t begun;

    if (list_empty(&room->fresh) && list_empty(&room->unsaid) && !room->behind)
        return;
    if (!room->began_ns && clock_mono_ms() >= room->next_ms) {
        begun = clock_mono_ns();
        say(shard);
        take_fresh(room);
        if (tell_all(shard) >= MEASURED) {
            room->began_ns = begun;
            shard_wake(shard);
        }
        pause_for(room, clock_mono_ns() - begun);
    }
    loop_wake_by(shard->loop, room->next_ms);
}

void moves_measure(struct shard *shard)
{
    struct presence_room *room = &shard->room;

    if (room->began_ns)
        pause_for(room, clock_mono_ns() - room->began_ns);
    room->began_ns = 0;
}
