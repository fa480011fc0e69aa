#include "hub/hub_private.h"

#include "base/clock.h"

#include <string.h>
#include <time.h>

static void add_sizes(struct hub_stats *out, const struct loop_stats *l)
{
    if (l->largest_in > out->largest_in)
        out->largest_in = l->largest_in;
    if (l->largest_out > out->largest_out)
        out->largest_out = l->largest_out;
    out->tls += l->tls;
    out->deflating += l->deflating;
    out->deflated_bodies += l->deflated_bodies;
    out->deflated_messages += l->deflated_messages;
    out->deflated_before += l->deflated_before;
    out->deflated_after += l->deflated_after;
    out->inflated_messages += l->inflated_messages;
    out->inflated_before += l->inflated_before;
    out->inflated_after += l->inflated_after;
}

const int hub_codes[HUB_CODES] = {
    1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 0};

bool hub_turns(struct hub *h)
{
    bool all = true;

    for (int i = 0; i < h->count; i++)
        all &= loop_turns(h->shards[i]->loop);
    return all;
}

const struct hub_options *hub_settings(const struct hub *h)
{
    return &h->options;
}

int64_t hub_uptime(const struct hub *h)
{
    return (clock_mono_ms() - h->started_ms) / 1000;
}

static void add_shard(struct hub_stats *out, const struct shard *s, const struct loop_stats *l)
{
    uint64_t waiting = atomic_load_explicit(&s->pending, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&s->backlog, memory_order_relaxed);

    for (int i = 0; i < HUB_CODES; i++)
        out->closed_by_code[i] += atomic_load_explicit(&s->closed[i], memory_order_relaxed);
    if (waiting > out->batches_waiting)
        out->batches_waiting = waiting;
    if (bytes > out->backlog_bytes)
        out->backlog_bytes = bytes;
    tally_read(&s->fanout_times, &out->fanout_times);
    tally_read(&s->delays, &out->delays);
    tally_read(&s->match_times, &out->match_times);
    for (int i = 0; i < TALLY_BUCKETS; i++)
        out->queues.buckets[i] += l->queues.buckets[i];
    out->queues.count += l->queues.count;
    out->queues.sum += l->queues.sum;
}

#define SETTLE_TRIES 20 /* a millisecond each */

/* Loops without connections are behind (see shard.h): what they have is counted as well. */
static bool settled(struct hub *h)
{
    bool all = true;

    pthread_mutex_lock(&h->posting);
    for (int i = 0; i < h->count && !h->stopped; i++) {
        struct shard *s = h->shards[i];

        if (atomic_load(&s->connections) > 0 || atomic_load(&s->pending) == 0)
            continue;
        loop_wake(s->loop);
        all = all && loop_is_current(s->loop);
    }
    pthread_mutex_unlock(&h->posting);
    return all;
}

static bool on_a_loop(const struct hub *h)
{
    for (int i = 0; i < h->count; i++)
        if (loop_is_current(h->shards[i]->loop))
            return true;
    return false;
}

static void settle(struct hub *h)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; !settled(h) && !on_a_loop(h) && i < SETTLE_TRIES; i++)
        nanosleep(&pause, NULL);
}

void hub_stats(struct hub *h, struct hub_stats *out)
{
    int64_t latency_us = 0;
    uint64_t measured = 0;

    settle(h);
    *out = (struct hub_stats){0};
    for (int i = 0; i < h->count; i++) {
        struct shard *s = h->shards[i];
        struct loop_stats l;

        loop_stats(s->loop, &l);
        out->connections += l.connections;
        out->accepted += l.accepted;
        out->closed += l.closed;
        out->messages_in += l.messages_in;
        out->messages_out += l.messages_out;
        out->bytes_in += l.bytes_in;
        out->bytes_out += l.bytes_out;
        out->slow_closed += l.slow_closed;
        out->slow_resynced += l.slow_forgotten;
        out->unanswered += l.unanswered;
        out->queued_bytes += l.queued_bytes;
        add_sizes(out, &l);
        latency_us += l.latency_total_us;
        measured += l.latency_count;
        out->subscriptions += atomic_load_explicit(&s->subscriptions, memory_order_relaxed);
        out->running_queries += atomic_load_explicit(&s->running_queries, memory_order_relaxed);
        out->deliveries += atomic_load_explicit(&s->deliveries, memory_order_relaxed);
        add_shard(out, s, &l);
    }
    out->gaps = atomic_load_explicit(&h->gaps, memory_order_relaxed);
    out->history_bytes = atomic_load_explicit(&h->shards[0]->history_bytes, memory_order_relaxed);
    out->history_after = atomic_load_explicit(&h->shards[0]->history_after, memory_order_relaxed);
    if (measured)
        out->latency_ms = (double)latency_us / (double)measured / 1000;
}
