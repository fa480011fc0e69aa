#include "hub/replay.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/database.h"
#include "hub/changeset.h"
#include "hub/fanout.h"
#include "hub/page.h"
#include "hub/session.h"
#include "hub/shard.h"
#include "hub/tables.h"

#include <string.h>

/* One slice: some tenths of a millisecond. */
#define SLICE_LOOKS 500
#define SLICE_BYTES (128u << 10)
#define QUEUE_HIGH (1u << 20) /* queued for one connection before it has to read first */

/* Every change after the result is kept, in memory or in the journal. */
static uint64_t kept_after(const struct shard *s)
{
    uint64_t after;

    if (s->options->db && database_past(s->options->db, &after) && after < s->history.after)
        return after > s->gap ? after : s->gap;
    return s->history.after;
}

const char *replay_position(const struct shard *s, const struct command *cmd, uint64_t *seq)
{
    const char *epoch = s->options->epoch;
    /* With an epoch 0 is a position like any other: one at which nothing may be left out. */
    bool all = cmd->since == SINCE_EARLIEST || (!cmd->since_seq && !cmd->epoch.p);

    if (cmd->epoch.p &&
        (cmd->epoch.len != strlen(epoch) || memcmp(cmd->epoch.p, epoch, cmd->epoch.len) != 0))
        return RESYNC_EPOCH_CHANGED;
    uint64_t kept = kept_after(s);
    *seq = all ? kept : cmd->since_seq;
    if (*seq > s->seq)
        return RESYNC_FUTURE;
    return *seq < kept ? RESYNC_HISTORY_LOST : NULL;
}

/* Coming and going. */

static void replay_free(struct replay *r)
{
    changeset_drop(&r->changes);
    list_del(&r->node);
    list_del(&r->ready);
    page_drop(r);
    mem_free(r);
}

static void unbind(struct follower *w)
{
    view_fini(&w->view);
    filter_free(w->filter);
    w->filter = NULL;
    table_unref(w->table);
    w->table = NULL;
}

/* From now on it hears what is live. */
static void let_go(struct follower *w)
{
    *(w->sub ? &w->sub->follower : &w->membership->follower) = NULL;
    list_del(&w->node);
    unbind(w);
    mem_free(w);
}

void replay_cancel(struct follower *w)
{
    struct replay *r;

    if (!w)
        return;
    r = w->replay;
    let_go(w);
    if (list_empty(&r->followers))
        replay_free(r);
    else
        changeset_split(changeset_of(&r->changes));
}

static struct replay *replay_at(struct session *s, uint64_t seq)
{
    struct replay *r;

    for (struct list *n = s->work->replays.next; n != &s->work->replays; n = n->next) {
        r = list_entry(n, struct replay, node);
        if (r->seq == seq)
            return r;
    }
    r = session_work(s) == 0 ? mem_zalloc(sizeof(*r)) : NULL;
    if (!r)
        return NULL;
    r->session = s;
    r->seq = seq;
    list_init(&r->followers);
    list_init(&r->changes);
    list_add_tail(&s->work->replays, &r->node);
    list_add_tail(&s->shard->replays, &r->ready);
    return r;
}

int replay_start(
    struct session *s, struct subscription *sub, struct membership *membership, uint64_t seq)
{
    struct follower *w = mem_zalloc(sizeof(*w));

    if (!w)
        return STATUS_NOMEM;
    w->replay = replay_at(s, seq);
    if (!w->replay) {
        mem_free(w);
        return STATUS_NOMEM;
    }
    w->sub = sub;
    w->membership = membership;
    *(sub ? &sub->follower : &membership->follower) = w;
    list_add_tail(&w->replay->followers, &w->node);
    return 0;
}

/* Tells that the rest of its way is lost, and lets it go. */
static void lose(struct follower *w, const char *reason)
{
    if (w->membership)
        w->membership->from = w->replay->session->shard->seq;
    session_resync(w->replay->session, w->sub, w->membership, reason);
    let_go(w);
}

void replay_drop(struct session *s, uint64_t before)
{
    struct list *n, *next;

    for (n = s->work->replays.next; n != &s->work->replays; n = next) {
        struct replay *r = list_entry(n, struct replay, node);

        next = n->next;
        if (r->seq >= before)
            continue;
        while (!list_empty(&r->followers))
            let_go(list_entry(r->followers.next, struct follower, node));
        replay_free(r);
    }
}

static void lose_all(struct replay *r, const char *reason)
{
    changeset_drop(&r->changes);
    while (!list_empty(&r->followers))
        lose(list_entry(r->followers.next, struct follower, node), reason);
}

/* Following. */

static int bind(struct follower *w, struct shard *s, const struct table *table)
{
    struct error_text err;

    unbind(w);
    w->table = table_ref(table);
    return view_init(&w->view, &w->filter, &s->topics, &s->replay_columns, table, w->sub, &err);
}

static void cannot_bind(struct fanout *f, struct follower *w, int status)
{
    if (status == STATUS_NOMEM) {
        session_fail(w->replay->session);
        return;
    }
    /* What it has got so far comes before the news. */
    changeset_split(changeset_of(f->changesets));
    lose(w, RESYNC_SCHEMA_CHANGED);
}

static void follow_row(struct fanout *f, struct follower *w)
{
    const struct change *c = f->change;
    struct subscription *sub = w->sub;
    const struct topic *topic = sub->topic;
    bool matched_new, matched_old;
    int status = 0;

    if (!fanout_hears(f, sub) || !table_has_events(c->table))
        return;
    if (!topic) {
        fanout_match_every(f, sub);
        return;
    }
    if (!text_same_nocase(topic->name, topic->len, c->table->name, strlen(c->table->name)))
        return;
    if (w->table != c->table)
        status = bind(w, f->shard, c->table);
    if (status < 0) {
        cannot_bind(f, w, status);
        return;
    }
    matched_new = filter_match(w->filter, c->row, c->rowid);
    matched_old = filter_match(w->filter, c->old, c->old_rowid);
    if (matched_new || matched_old)
        fanout_match_row(f, sub, &w->view, matched_new, matched_old);
}

/* One change for all that follow; returns how many they were. */
static size_t follow(struct fanout *f, struct replay *r)
{
    bool row = f->change->kind <= CHANGE_DELETE;
    struct list *n, *next;
    size_t looks = 0;

    if (!row)
        tables_follow(f, r);

    for (n = r->followers.next; n != &r->followers; n = next) {
        struct follower *w = list_entry(n, struct follower, node);

        next = n->next;
        looks++;
        if (row && w->sub)
            follow_row(f, w);
    }
    fanout_deliver(f);
    r->seq = f->change->seq;
    return looks;
}

size_t replay_queue_high(const struct shard *s)
{
    size_t max = s->options->max_queue / 4, slow = s->options->slow_queue / 2;

    /* What is sent at the client's own pace must not make it a slow consumer. */
    if (slow && slow < max)
        max = slow;
    return max < QUEUE_HIGH ? max : QUEUE_HIGH;
}

/* The batch with the change after the replay's; NULL: *status says why, as page_find. */
static const struct batch *find_batch(struct replay *r, int *status)
{
    struct shard *s = r->session->shard;

    *status = 0;
    if (r->seq < s->history.after)
        return s->options->db && r->seq >= s->gap ? page_find(r, status)
                                                  : (*status = STATUS_NOT_FOUND, NULL);
    page_drop(r);
    return changelog_find(&s->history, r->seq + 1);
}

static bool slice_over(const struct fanout *f, const struct replay *r, size_t looks)
{
    const struct session *s = r->session;

    return looks >= SLICE_LOOKS || f->bytes >= SLICE_BYTES || !session_hears(s) ||
           conn_queued(s->conn) >= replay_queue_high(f->shard) || list_empty(&r->followers);
}

/* One transaction of a batch, or what the slice has room for; returns whether it has more. */
static bool follow_transaction(
    struct fanout *f, struct replay *r, const struct batch *b, size_t *looks)
{
    uint32_t i = (uint32_t)(r->seq + 1 - b->first_seq), end;
    const struct changeset *open = changeset_of(f->changesets);

    f->transaction = &b->transactions[batch_transaction_of(b, i)];
    /* A transaction whose end was never recorded. */
    if (open && open->transaction.tx != f->transaction->tx)
        changeset_finish(f->changesets);
    end = f->transaction->first + f->transaction->count;
    for (; i < end && !slice_over(f, r, *looks); i++) {
        f->change = &b->changes[i];
        *looks += follow(f, r);
    }
    if (i == end && !(b->continues && i == b->change_count))
        changeset_finish(f->changesets);
    return !slice_over(f, r, *looks);
}

/* Goes on until it has arrived, needs a page, or the slice is used up. Status as page_find. */
static int run_slice(struct replay *r)
{
    struct session *s = r->session;
    struct shard *shard = s->shard;
    struct fanout f = {.shard = shard, .changesets = &r->changes};
    struct changeset *live = s->changeset;
    const struct batch *b;
    size_t looks = 0;
    int status = 0;

    s->changeset = changeset_of(&r->changes);
    while (r->seq < shard->seq && !slice_over(&f, r, looks) && (b = find_batch(r, &status)))
        while (r->seq < shard->seq && r->seq < b->last_seq)
            if (!follow_transaction(&f, r, b, &looks))
                break;
    s->changeset = live;
    fanout_end(&f);
    return status;
}

/* Where it waits now. */
static void put_away(struct replay *r)
{
    struct shard *s = r->session->shard;
    struct conn *c = r->session->conn;
    int status;

    r->full = r->session->slow || conn_queued(c) >= replay_queue_high(s);
    if (r->session->slow) {
        page_drop(r);
    } else if (r->seq > s->seq) {
        list_add_tail(&s->ahead, &r->ready);
    } else if (r->full) {
        conn_want_drained(c, replay_queue_high(s) / 2);
        if (!list_empty(&s->waiting))
            page_drop(r);
        if (r->page)
            list_add_tail(&s->parked, &r->ready);
    } else if (!find_batch(r, &status) && status == 0) {
        if (page_want(r) < 0)
            session_fail(r->session);
    } else {
        list_add_tail(&s->replays, &r->ready);
    }
}

/* All that follow have come to the present. */
static void arrive(struct replay *r)
{
    struct shard *s = r->session->shard;
    struct changeset *c = changeset_of(&r->changes);

    if (c && c->transaction.tx == s->open_tx)
        changeset_join(c, &s->changesets);
    while (!list_empty(&r->followers))
        let_go(list_entry(r->followers.next, struct follower, node));
}

void replay_run(struct shard *s)
{
    struct replay *r = list_entry(s->replays.next, struct replay, ready);
    struct conn *c = r->session->conn;

    list_del(&r->ready);
    if (run_slice(r) < 0)
        lose_all(r, RESYNC_HISTORY_LOST);
    /* It goes with the session then. */
    if (conn_closing(c)) {
        page_drop(r);
        return;
    }
    if (r->seq == s->seq && !list_empty(&r->followers))
        arrive(r);
    if (list_empty(&r->followers))
        replay_free(r);
    else
        put_away(r);
}

void replay_ready(struct replay *r)
{
    list_add_tail(&r->session->shard->replays, &r->ready);
}

void replay_follow(struct shard *s)
{
    while (!list_empty(&s->ahead)) {
        struct list *n = s->ahead.next;

        list_del(n);
        list_add_tail(&s->replays, n);
    }
}

void replay_drained(struct session *s)
{
    for (struct list *n = s->work->replays.next; n != &s->work->replays; n = n->next) {
        struct replay *r = list_entry(n, struct replay, node);

        if (!r->full)
            continue;
        r->full = false;
        list_del(&r->ready);
        list_add_tail(&s->shard->replays, &r->ready);
    }
    if (!list_empty(&s->shard->replays))
        shard_wake(s->shard);
}
