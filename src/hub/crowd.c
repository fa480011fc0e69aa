#include "hub/crowd.h"

#include "base/mem.h"
#include "hub/fanout.h"
#include "hub/session.h"
#include "hub/shard.h"

#define CROWDS_MAX 8 /* of one binding: there may be many sets of columns */
/* What is needed of a member is asked of memory some members before it is its turn. */
#define AHEAD_SUBSCRIPTION 18
#define AHEAD_SESSION 12
#define AHEAD_CONN 6

/* Membership. The link of an entry that is not filed in the index is free for it. */

bool crowd_has(const struct bound *bound)
{
    return bound->entry.link.kind == FILTER_NOT_FILED;
}

static struct crowd *crowd_of(const struct bound *bound)
{
    return bound->entry.link.apart;
}

static void take_place(struct crowd *c, struct bound *bound, uint32_t place)
{
    bound->entry.link.kind = FILTER_NOT_FILED;
    bound->entry.link.apart = c;
    bound->entry.link.hash = place;
    c->members[place] = bound->sub;
}

static bool alone(const struct subscription *s)
{
    const struct session *session = s->session;

    return session->sub_count == 0 || (session->sub_count == 1 && session->subs[0] == s);
}

static bool fits(const struct bound *bound)
{
    const struct subscription *s = bound->sub;

    return bound->entry.filter.term_count == 0 && !bound->view.limits && s->self && !s->batch &&
           s->events == EVENTS_ALL && alone(s) && !s->session->poll &&
           !session_is_stream(s->session);
}

static struct crowd *new_crowd(struct binding *b, struct projection *p, uint32_t number)
{
    struct crowd *c = mem_zalloc(sizeof(*c));

    if (!c)
        return NULL;
    c->projection = p;
    c->number = number;
    c->next = b->crowds;
    b->crowds = c;
    return c;
}

static struct crowd *find_crowd(struct binding *b, struct projection *p, uint32_t number)
{
    struct crowd *c;
    int count = 0;

    for (c = b->crowds; c; c = c->next, count++)
        if (c->projection == p && c->number == number)
            return c;
    return count < CROWDS_MAX ? new_crowd(b, p, number) : NULL;
}

static void drop_if_empty(struct binding *b, struct crowd *c)
{
    struct crowd **at = &b->crowds;

    if (c->count)
        return;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    mem_free(c->members);
    mem_free(c);
}

static bool reserve(struct crowd *c)
{
    uint32_t cap = c->cap + c->cap / 4 + 4;
    struct subscription **members;

    if (c->count < c->cap)
        return true;
    members = mem_realloc(c->members, cap * sizeof(*members));
    if (!members)
        return false;
    c->members = members;
    c->cap = cap;
    return true;
}

bool crowd_join(struct binding *b, struct bound *bound)
{
    struct crowd *c = fits(bound) ? find_crowd(b, bound->view.change, bound->sub->number) : NULL;

    if (!c)
        return false;
    if (!reserve(c)) {
        drop_if_empty(b, c);
        return false;
    }
    take_place(c, bound, c->count++);
    return true;
}

void crowd_leave(struct binding *b, struct bound *bound)
{
    struct shard *shard = bound->sub->session->shard;
    struct crowd *c = crowd_of(bound);
    uint32_t place = bound->entry.link.hash;
    struct subscription *last;

    if (shard->crowd_news.crowd == c)
        crowd_tell(shard);
    last = c->members[--c->count];
    if (last != bound->sub)
        take_place(c,
            last->bound && crowd_has(last->bound) && crowd_of(last->bound) == c ? last->bound
                                                                                : last->leaving,
            place);
    drop_if_empty(b, c);
}

/* Sending. */

static bool hears(const struct subscription *s)
{
    return !s->follower && !s->snapshot && session_hears(s->session);
}

static void bring_near(const struct crowd *c, uint32_t i)
{
    if (i + AHEAD_SUBSCRIPTION < c->count)
        __builtin_prefetch(c->members[i + AHEAD_SUBSCRIPTION]);
    if (i + AHEAD_SESSION < c->count)
        __builtin_prefetch(c->members[i + AHEAD_SESSION]->session);
    if (i + AHEAD_CONN < c->count)
        conn_prefetch(c->members[i + AHEAD_CONN]->session->conn);
}

static void send_one(struct session *s, const struct crowd *c, struct body *body)
{
    const struct change_prefix prefix = {&c->number, 1, TRANSITION_NONE};
    struct buf *scratch = &s->shard->scratch;

    if (!session_hears(s))
        return;
    buf_reset(scratch);
    s->dialect->put_prefix(scratch, &prefix);
    if (!body || buf_error(scratch))
        session_fail(s);
    else
        conn_send(s->conn, scratch->data, scratch->len, body);
}

static struct body *body_of(struct shard *s, const struct crowd *c, const struct crowd_change *x)
{
    const struct change_message m = {
        .epoch = s->options->epoch,
        .transaction = x->transaction,
        .change = x->change,
        .columns = projection_columns(c->projection),
    };
    struct buf *scratch = &s->scratch;

    buf_reset(scratch);
    c->projection->dialect->put_body(scratch, &m);
    return buf_error(scratch) ? NULL : body_new(scratch->data, scratch->len);
}

/* Those that do not keep up, or want it compressed, get each message by itself. */
static void send_each(struct shard *s, const struct crowd_news *n, struct session *first)
{
    for (uint32_t i = 0; i < n->count; i++) {
        struct body *body = body_of(s, n->crowd, &n->changes[i]);

        for (struct session *to = first; to; to = to->next_matched)
            send_one(to, n->crowd, body);
        if (body)
            body_unref(body);
    }
}

static void send_all(struct shard *s, const struct crowd_news *n)
{
    const struct crowd *c = n->crowd;
    struct session *others = NULL;
    uint64_t told = 0;

    for (uint32_t i = 0; i < c->count; i++) {
        const struct subscription *sub = c->members[i];
        struct session *to = sub->session;

        bring_near(c, i);
        if (!hears(sub))
            continue;
        told++;
        if (conn_send_part(to->conn, n->body, n->from, n->size, n->largest, n->count))
            continue;
        to->next_matched = others;
        others = to;
    }
    if (others)
        send_each(s, n, others);
    atomic_fetch_add_explicit(&s->deliveries, told * n->count, memory_order_relaxed);
}

void crowd_tell(struct shard *s)
{
    struct crowd_news *n = &s->crowd_news;

    if (!n->crowd)
        return;
    send_all(s, n);
    for (uint32_t i = 0; i < n->count; i++)
        batch_unref(n->changes[i].batch);
    body_unref(n->body);
    n->crowd = NULL;
    n->body = NULL;
    n->count = 0;
}

static const struct frame *frame_for(struct fanout *f, const struct crowd *c)
{
    const struct change_message m = {
        .epoch = f->shard->options->epoch,
        .transaction = f->transaction,
        .change = f->change,
        .columns = projection_columns(c->projection),
    };

    return frames_add(
        &f->shard->frames, c->projection, c->number, TRANSITION_NONE, &m, &f->shard->scratch);
}

static bool goes_on(const struct crowd_news *n, const struct crowd *c, const struct body *body,
    const struct frame *frame)
{
    return n->crowd == c && n->body == body && n->from + n->size == frame->from &&
           n->count < CROWD_CHANGES;
}

/* False: the message is too large, or what else it says is for the members one by one. */
static bool keep_back(struct fanout *f, struct crowd *c)
{
    struct shard *s = f->shard;
    struct crowd_news *n = &s->crowd_news;
    const struct frame *frame;

    if (!f->batch || f->transaction->receipt || f->transaction->schema)
        return false;
    frame = frame_for(f, c);
    if (!frame)
        return false;
    if (!goes_on(n, c, s->frames.body, frame)) {
        crowd_tell(s);
        body_ref(s->frames.body);
        n->crowd = c;
        n->body = s->frames.body;
        n->from = frame->from;
        n->size = n->largest = 0;
    }
    n->size += frame->size;
    if (frame->payload > n->largest)
        n->largest = frame->payload;
    n->changes[n->count++] = (struct crowd_change){batch_ref(f->batch), f->transaction, f->change};
    return true;
}

static void match_members(struct fanout *f, const struct crowd *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        struct subscription *sub = c->members[i];

        if (!sub->follower && !sub->snapshot)
            fanout_match(f, sub, c->projection, f->change->row, f->change->old);
    }
}

void crowd_match(struct fanout *f, struct binding *b)
{
    for (struct crowd *c = b->crowds; c; c = c->next) {
        if (keep_back(f, c))
            continue;
        crowd_tell(f->shard);
        match_members(f, c);
    }
}
