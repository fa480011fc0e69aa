#include "hub/fanout.h"

#include "base/clock.h"
#include "base/status.h"
#include "hub/changeset.h"
#include "hub/crowd.h"
#include "hub/delivery.h"
#include "hub/poll.h"
#include "hub/session.h"
#include "hub/shard.h"
#include "hub/tables.h"

#include <stdlib.h>
#include <string.h>

/* Matching: subscriptions are chained to their sessions, nothing is allocated. */

bool fanout_hears(const struct fanout *f, const struct subscription *sub)
{
    return sub->self || f->transaction->origin != conn_id(sub->session->conn);
}

void fanout_match(struct fanout *f, struct subscription *sub, struct projection *p,
    bool matched_new, bool matched_old)
{
    struct session *s = sub->session;
    enum transition transition = TRANSITION_NONE;

    if (f->change->kind == CHANGE_UPDATE && matched_new != matched_old)
        transition = matched_new ? TRANSITION_ENTER : TRANSITION_LEAVE;
    if (!s->matches) {
        s->next_matched = f->matched;
        f->matched = s;
    }
    sub->next_match = s->matches;
    sub->match_projection = p;
    sub->match_transition = (uint8_t)transition;
    sub->match_batch = sub->batch && f->change->kind <= CHANGE_DELETE;
    s->matches = sub;
}

void fanout_match_row(struct fanout *f, struct subscription *sub, const struct view *v,
    bool matched_new, bool matched_old)
{
    uint8_t kind = f->change->kind;
    struct projection *p = view_of(v, f->change, &kind);

    if (!p || !(sub->events >> kind & 1))
        return;
    /* What is told as its coming or going is no transition as well. */
    if (kind != f->change->kind)
        matched_new = matched_old = true;
    fanout_match(f, sub, p, matched_new, matched_old);
}

void fanout_match_every(struct fanout *f, struct subscription *sub)
{
    if (sub->events >> f->change->kind & 1)
        fanout_match(f, sub, sub->whole, true, true);
}

/* What is still on its way through a snapshot or the past hears nothing live. */
static bool hears(const struct fanout *f, const struct subscription *sub)
{
    return !sub->follower && !sub->snapshot && fanout_hears(f, sub);
}

static void found(struct filter_entry *e, bool matched_new, bool matched_old, void *ctx)
{
    struct bound *bound = list_entry(e, struct bound, entry);
    struct fanout *f = ctx;

    if (hears(f, bound->sub))
        fanout_match_row(f, bound->sub, &bound->view, matched_new, matched_old);
}

static void match_row(struct fanout *f)
{
    const struct change *c = f->change;
    struct topics *t = &f->shard->topics;

    if (f->binding && f->binding->crowds)
        crowd_match(f, f->binding);
    if (f->binding)
        filter_index_match(f->binding->index, c->row, c->rowid, c->old, c->old_rowid, found, f);
    if (!table_has_events(c->table))
        return;
    for (struct list *n = t->every.next; n != &t->every; n = n->next) {
        struct subscription *sub = list_entry(n, struct subscription, node);

        if (hears(f, sub))
            fanout_match_every(f, sub);
    }
}

/* Reading the clock takes about as long as the search for a row that nobody wants. */
#define MATCH_SAMPLE 16

/* Somebody subscribes to the table. If nobody does, that stays so until other changes than rows. */
static bool is_wanted(struct fanout *f)
{
    struct topics *t = &f->shard->topics;

    if (f->change->table == f->unwanted)
        return false;
    f->binding = topics_binding(t, f->change->table);
    if (f->binding || !list_empty(&t->every))
        return true;
    f->unwanted = f->change->table;
    return false;
}

static void match_timed(struct fanout *f)
{
    struct shard *s = f->shard;
    int64_t began;

    if (s->matched++ % MATCH_SAMPLE) {
        match_row(f);
        return;
    }
    began = clock_mono_ns();
    match_row(f);
    tally_add_own(&s->match_times, &tally_moments, clock_mono_ns() - began);
}

/* Writing. */

static const struct change *told_as(struct fanout *f, const struct projection *p)
{
    if (p->shape == PROJECTION_AS_IT_IS)
        return f->change;
    f->told = *f->change;
    f->told.kind = p->shape == PROJECTION_GONE ? CHANGE_DELETE : CHANGE_INSERT;
    if (p->shape == PROJECTION_GONE)
        f->told.row = NULL;
    else
        f->told.old = NULL;
    return &f->told;
}

static struct change_message message(struct fanout *f, const struct projection *p)
{
    return (struct change_message){
        .epoch = f->shard->options->epoch,
        .transaction = f->transaction,
        .change = told_as(f, p),
        .columns = projection_columns(p),
        .receipt = f->live ? f->transaction->receipt : NULL,
    };
}

static struct body *new_body(struct fanout *f, struct projection *p)
{
    struct text known = frames_body(&f->shard->frames, p);
    struct buf *scratch = &f->shard->scratch;
    struct change_message m;

    if (known.p)
        return body_new(known.p, known.len);
    m = message(f, p);
    buf_reset(scratch);
    p->dialect->put_body(scratch, &m);
    return buf_error(scratch) ? NULL : body_new(scratch->data, scratch->len);
}

static struct body *body_for(struct fanout *f, struct projection *p)
{
    if (p->body)
        return p->body;
    p->body = new_body(f, p);
    if (p->body) {
        p->next_used = f->used;
        f->used = p;
    }
    return p->body;
}

static int send_now(
    struct fanout *f, struct session *s, const struct change_prefix *prefix, struct body *body)
{
    struct buf *scratch = &f->shard->scratch;

    buf_reset(scratch);
    s->dialect->put_prefix(scratch, prefix);
    if (!buf_error(scratch))
        return conn_send(s->conn, scratch->data, scratch->len, body);
    session_fail(s);
    return STATUS_NOMEM;
}

/* Sends the change to one session. A failure ends the connection: it must not miss a change. */
static int send_to(struct fanout *f, struct session *s, struct projection *p,
    const struct change_prefix *prefix, bool batch)
{
    const struct change_message m = message(f, p);
    struct body *body = body_for(f, p);

    if (!body) {
        session_fail(s);
        return STATUS_NOMEM;
    }
    f->deliveries++;
    f->bytes += body->len;
    if (batch)
        return changeset_add(f->changesets, s, &m, prefix, body);
    /* The rows of a dropped table come before the news of it. */
    if (f->change->kind == CHANGE_TABLE_DROPPED)
        changeset_end(s->changeset);
    int rc =
        s->poll ? poll_add(s->poll, prefix, body, f->change->seq) : send_now(f, s, prefix, body);
    if (rc == 0 && m.receipt && !s->poll)
        delivery_note(m.receipt, s->conn);
    return rc;
}

static int compare_matches(const void *a, const void *b)
{
    const struct subscription *x = *(struct subscription *const *)a;
    const struct subscription *y = *(struct subscription *const *)b;

    if (x->match_projection != y->match_projection)
        return x->match_projection->serial < y->match_projection->serial ? -1 : 1;
    if (x->match_batch != y->match_batch)
        return x->match_batch < y->match_batch ? -1 : 1;
    if (x->match_transition != y->match_transition)
        return x->match_transition < y->match_transition ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Takes the session's matches into the shard's array, in the order of messages. */
static size_t take_matches(struct session *s)
{
    struct subscription **matches = s->shard->matches;
    size_t count = 0;

    for (struct subscription *sub = s->matches; sub; sub = sub->next_match)
        matches[count++] = sub;
    s->matches = NULL;
    if (count > 1)
        qsort(matches, count, sizeof(*matches), compare_matches);
    return count;
}

static bool same_message(const struct subscription *a, const struct subscription *b)
{
    return a->match_projection == b->match_projection && a->match_batch == b->match_batch &&
           a->match_transition == b->match_transition;
}

/* One message names all subscriptions that see the change in the same way. */
static void deliver(struct fanout *f, struct session *s)
{
    size_t count = take_matches(s), i = 0, n;
    struct subscription **matches = f->shard->matches;
    uint32_t *numbers = f->shard->numbers;

    if (!session_hears(s))
        return;
    while (i < count) {
        struct subscription *first = matches[i];
        struct change_prefix prefix = {numbers, 0, first->match_transition};

        for (n = 0; i < count && same_message(matches[i], first); i++)
            numbers[n++] = matches[i]->number;
        prefix.subscription_count = n;
        if (send_to(f, s, first->match_projection, &prefix, first->match_batch) < 0)
            return;
    }
}

static const struct frame *add_frame(struct fanout *f, const struct subscription *sub)
{
    const struct change_message m = message(f, sub->match_projection);
    struct shard *s = f->shard;

    return frames_add(
        &s->frames, sub->match_projection, sub->number, sub->match_transition, &m, &s->scratch);
}

/* The way of most messages; false where there is more to it. */
static bool deliver_frame(struct fanout *f, struct session *s)
{
    const struct subscription *sub = s->matches;
    struct frames *frames = &f->shard->frames;
    const struct frame *frame;

    if (!f->live || f->change->kind > CHANGE_DELETE || f->transaction->receipt || sub->next_match ||
        sub->match_batch || s->slow || session_is_stream(s))
        return false;
    frame = frames_find(frames, sub->match_projection, sub->number, sub->match_transition);
    if (!frame)
        frame = add_frame(f, sub);
    if (!frame ||
        !conn_send_part(s->conn, frames->body, frame->from, frame->size, frame->payload, 1))
        return false;
    s->matches = NULL;
    f->deliveries++;
    f->bytes += frame->payload;
    return true;
}

void fanout_forget(struct fanout *f)
{
    frames_next(&f->shard->frames);
    while (f->used) {
        struct projection *p = f->used;

        f->used = p->next_used;
        body_unref(p->body);
        p->body = NULL;
    }
}

void fanout_deliver(struct fanout *f)
{
    while (f->matched) {
        struct session *s = f->matched;

        f->matched = s->next_matched;
        if (!deliver_frame(f, s))
            deliver(f, s);
    }
    fanout_forget(f);
}

void fanout_tell(struct fanout *f, const struct membership *m)
{
    static const struct change_prefix none;
    struct session *s = m->session;

    if (session_hears(s) && (m->self || f->transaction->origin != conn_id(s->conn)) &&
        tables_may_know(f, s))
        send_to(f, s, s->whole, &none, false);
}

void fanout_close(struct shard *s)
{
    changeset_finish(&s->changesets);
    topics_settle(&s->topics);
    s->open_tx = 0;
}

static void deliver_transaction(struct fanout *f, const struct transaction *t)
{
    const struct batch *b = f->batch;
    struct shard *s = f->shard;
    bool last = t == &b->transactions[b->transaction_count - 1];

    if (s->open_tx && s->open_tx != t->tx)
        fanout_close(s);
    f->transaction = t;
    f->unwanted = NULL;
    if (t->schema) {
        crowd_tell(s);
        topics_follow(&s->topics, t->schema);
    }
    for (uint32_t i = t->first; i < t->first + t->count; i++) {
        f->change = &b->changes[i];
        if (f->change->kind <= CHANGE_DELETE) {
            if (!is_wanted(f))
                continue;
            match_timed(f);
            fanout_deliver(f);
        } else {
            f->unwanted = NULL;
            crowd_tell(s);
            tables_deliver(f);
        }
    }
    if (last && b->continues) {
        changeset_wait(&s->changesets);
        s->open_tx = t->tx;
    } else {
        fanout_close(s);
    }
}

/* One large row must not keep its memory for ever. */
#define SCRATCH_KEPT (1u << 20)

void fanout_end(struct fanout *f)
{
    struct shard *s = f->shard;

    if (s->scratch.cap > SCRATCH_KEPT)
        buf_fini(&s->scratch);
    if (f->deliveries)
        atomic_fetch_add_explicit(&s->deliveries, f->deliveries, memory_order_relaxed);
}

void fanout_batch(struct shard *s, struct batch *b)
{
    struct fanout f = {.shard = s, .batch = b, .changesets = &s->changesets, .live = true};

    if (b->gap) {
        crowd_tell(s);
        changeset_drop(&s->changesets);
        fanout_close(s);
    }
    for (uint32_t i = 0; i < b->transaction_count; i++)
        deliver_transaction(&f, &b->transactions[i]);
    fanout_end(&f);
    delivery_end(b);
    if (b->last_seq > s->seq)
        s->seq = b->last_seq;
}
