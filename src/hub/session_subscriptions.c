#include "hub/session.h"

#include "base/mem.h"
#include "base/status.h"
#include "hub/changeset.h"
#include "hub/limits.h"
#include "hub/replay.h"
#include "hub/shard.h"
#include "hub/snapshot.h"

#include <stdio.h>
#include <string.h>

static int reserve_subscription(struct session *s)
{
    uint32_t cap = s->sub_cap * 2;
    struct subscription **subs;

    if (s->sub_count < s->sub_cap)
        return 0;
    subs = mem_realloc(s->subs == &s->first ? NULL : s->subs, cap * sizeof(*subs));
    if (!subs)
        return STATUS_NOMEM;
    if (s->subs == &s->first)
        subs[0] = s->first;
    s->subs = subs;
    s->sub_cap = cap;
    return 0;
}

uint32_t session_find(const struct session *s, uint32_t number)
{
    uint32_t lo = 0, hi = s->sub_count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (s->subs[mid]->number < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->sub_count && s->subs[lo]->number == number ? lo : s->sub_count;
}

/* Frees one that is no longer in subs. */
static void drop_subscription(struct session *s, struct subscription *sub)
{
    replay_cancel(sub->follower);
    snapshot_cancel(sub->snapshot);
    /* Nothing that names it comes after the answer. */
    if (sub->batch && --s->batch_count == 0)
        changeset_free(s->changeset);
    else if (sub->batch)
        changeset_split(s->changeset);
    topics_remove(&s->shard->topics, sub);
    s->text_bytes -= sub->text_len;
    s->shard->text_bytes -= sub->text_len;
    subscription_free(sub);
    atomic_fetch_sub_explicit(&s->shard->subscriptions, 1, memory_order_relaxed);
}

void session_unsubscribe(struct session *s, uint32_t place)
{
    struct subscription *sub = s->subs[place];

    s->sub_count--;
    memmove(&s->subs[place], &s->subs[place + 1], (s->sub_count - place) * sizeof(*s->subs));
    drop_subscription(s, sub);
}

void session_end_subscription(
    struct subscription *sub, const char *table, const struct error_text *why)
{
    struct session *s = sub->session;
    char message[768];
    struct reply r = {.type = REPLY_ERROR,
        .code = why->code,
        .message = message,
        .subscriptions = &sub->number,
        .subscription_count = 1};

    changeset_split(s->changeset);
    snprintf(message, sizeof(message),
        "subscription s%u has ended because table %.128s was changed: %s", sub->number, table,
        why->message);
    session_reply(s, &r);
    session_unsubscribe(s, session_find(s, sub->number));
}

size_t session_unsubscribe_if(struct session *s,
    bool (*wanted)(const struct subscription *sub, struct text table), struct text table,
    uint32_t *numbers)
{
    uint32_t kept = 0;
    size_t count = 0;

    for (uint32_t i = 0; i < s->sub_count; i++) {
        struct subscription *sub = s->subs[i];

        if (wanted && !wanted(sub, table)) {
            s->subs[kept++] = sub;
        } else {
            numbers[count++] = sub->number;
            drop_subscription(s, sub);
        }
    }
    s->sub_count = kept;
    return count;
}

/* Everything that can fail comes before the first change of state. */
int session_subscribe(
    struct session *s, const struct command *cmd, const struct table *table, struct error_text *err)
{
    struct subscription *sub;
    int status;

    if (reserve_subscription(s) < 0 || shard_reserve_matches(s->shard, s->sub_count + 1) < 0)
        return STATUS_NOMEM;
    if (s->sub_count == 1 && topics_part(s->subs[0]) < 0)
        return STATUS_NOMEM;
    sub = subscription_new(s, cmd, &status);
    if (!sub)
        return status;
    sub->number = s->last_number + 1;
    status = limits_text(s, sub->text_len, err);
    if (status < 0) {
        subscription_free(sub);
        return status;
    }
    status = topics_add(&s->shard->topics, sub, table, err);
    if (status < 0) {
        subscription_free(sub);
        return status;
    }
    s->last_number++;
    s->subs[s->sub_count++] = sub;
    s->batch_count += sub->batch;
    s->text_bytes += sub->text_len;
    s->shard->text_bytes += sub->text_len;
    atomic_fetch_add_explicit(&s->shard->subscriptions, 1, memory_order_relaxed);
    return 0;
}
