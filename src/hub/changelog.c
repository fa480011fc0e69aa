#include "hub/changelog.h"

#include "base/mem.h"

void changelog_init(struct changelog *h, size_t max, uint64_t seq)
{
    *h = (struct changelog){.max = max, .after = seq};
}

static struct batch *at(const struct changelog *h, size_t i)
{
    return h->ring[(h->first + i) & (h->cap - 1)];
}

static void drop_oldest(struct changelog *h)
{
    struct batch *b = at(h, 0);

    h->after = b->last_seq;
    h->bytes -= b->bytes;
    h->first = (h->first + 1) & (h->cap - 1);
    h->count--;
    batch_unref(b);
}

void changelog_fini(struct changelog *h)
{
    while (h->count)
        drop_oldest(h);
    mem_free(h->ring);
    h->ring = NULL;
}

static int grow(struct changelog *h)
{
    size_t cap = h->cap ? h->cap * 2 : 64;
    struct batch **ring = mem_array(cap, sizeof(struct batch *));

    if (!ring)
        return -1;
    for (size_t i = 0; i < h->count; i++)
        ring[i] = at(h, i);
    mem_free(h->ring);
    h->ring = ring;
    h->cap = cap;
    h->first = 0;
    return 0;
}

void changelog_add(struct changelog *h, struct batch *b)
{
    if (!b->change_count)
        return;
    while (h->count && (b->bytes > h->max || h->bytes > h->max - b->bytes))
        drop_oldest(h);
    if (b->bytes > h->max || (h->count == h->cap && grow(h) < 0)) {
        while (h->count)
            drop_oldest(h);
        h->after = b->last_seq;
        return;
    }
    h->ring[(h->first + h->count++) & (h->cap - 1)] = batch_ref(b);
    h->bytes += b->bytes;
}

void changelog_forget(struct changelog *h, uint64_t seq)
{
    while (h->count)
        drop_oldest(h);
    h->after = seq;
}

const struct batch *changelog_find(const struct changelog *h, uint64_t seq)
{
    size_t lo = 0, hi = h->count;

    if (seq <= h->after)
        return NULL;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (at(h, mid)->last_seq < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < h->count ? at(h, lo) : NULL;
}
