#include "net/loop.h"
#include "net/private.h"

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void compression_stats(struct loop *l, struct loop_stats *out)
{
    const struct deflater_totals *d = deflater_totals(l->deflater);
    const struct inflater_totals *i = inflater_totals(l->inflater);

    out->deflated_bodies = get(&d->bodies);
    out->deflated_messages = get(&d->messages);
    out->deflated_before = get(&d->before);
    out->deflated_after = get(&d->after);
    out->inflated_messages = get(&i->messages);
    out->inflated_before = get(&i->before);
    out->inflated_after = get(&i->after);
}

void loop_stats(struct loop *l, struct loop_stats *out)
{
    const struct loop_counters *c = &l->counters;

    *out = (struct loop_stats){
        .accepted = get(&c->accepted),
        .closed = get(&c->closed),
        .messages_in = get(&c->messages_in),
        .messages_out = get(&c->messages_out),
        .bytes_in = get(&c->bytes_in),
        .bytes_out = get(&c->bytes_out),
        .slow_closed = get(&c->slow_closed),
        .slow_forgotten = get(&c->slow_forgotten),
        .sends = get(&c->sends),
        .connections = get(&c->connections),
        .queued_bytes = get(&c->queued_bytes),
        .unanswered = get(&c->unanswered),
        .latency_total_us = (int64_t)get(&c->latency_total_us),
        .latency_count = get(&c->latency_count),
        .deflating = get(&c->deflating),
        .tls = get(&c->tls),
        .largest_in = get(&c->largest_in),
        .largest_out = get(&c->largest_out),
    };
    if (l->options.compress)
        compression_stats(l, out);
    tally_read(&l->queues, &out->queues);
}
