#include "filter/filter_keys.h"

#include "base/mem.h"
#include "base/status.h"
#include <assert.h>

/* The segment of a bucket: the number of bits of what is before it, in first segments. */
static int segment_of(size_t bucket)
{
    size_t n = bucket / FILTER_KEYS_FIRST;
    return n ? 64 - __builtin_clzll(n) : 0;
}

static size_t segment_start(int segment)
{
    return segment ? (size_t)FILTER_KEYS_FIRST << (segment - 1) : 0;
}

static struct filter_link **bucket_at(const struct filter_keys *k, size_t bucket)
{
    int segment = segment_of(bucket);
    return &k->segments[segment][bucket - segment_start(segment)];
}

static size_t bucket_of(const struct filter_keys *k, uint32_t hash)
{
    size_t bucket = hash & k->mask;
    return bucket < k->buckets ? bucket : bucket & k->mask >> 1;
}

static void set_buckets(struct filter_keys *k, size_t n)
{
    k->buckets = n;
    k->mask = n > 1 ? SIZE_MAX >> __builtin_clzll(n - 1) : 0;
}

void filter_keys_fini(struct filter_keys *k)
{
    for (int i = 0; i < FILTER_KEYS_SEGMENTS; i++)
        mem_free(k->segments[i]);
    *k = (struct filter_keys){0};
}

static void push(struct filter_link **bucket, struct filter_link *link)
{
    link->next = *bucket;
    link->back = bucket;
    if (link->next)
        link->next->back = &link->next;
    *bucket = link;
}

static void take_out(struct filter_link *link)
{
    *link->back = link->next;
    if (link->next)
        link->next->back = link->back;
}

static int reserve_segment(struct filter_keys *k, size_t bucket)
{
    int segment = segment_of(bucket);
    if (segment == FILTER_KEYS_SEGMENTS)
        return STATUS_NOMEM;
    if (k->segments[segment])
        return STATUS_OK;
    size_t size = segment ? segment_start(segment) : FILTER_KEYS_FIRST;
    k->segments[segment] = mem_array(size, sizeof(*k->segments[segment]));
    return k->segments[segment] ? STATUS_OK : STATUS_NOMEM;
}

/* One more bucket, which takes what is its own from the one it is split from. */
static void grow(struct filter_keys *k)
{
    size_t bucket = k->buckets;
    struct filter_link *link, *next;
    /* Without memory for it the chains get longer, no more. */
    if (reserve_segment(k, bucket) < 0)
        return;
    set_buckets(k, bucket + 1);
    for (link = *bucket_at(k, bucket & k->mask >> 1); link; link = next) {
        next = link->next;
        if (bucket_of(k, link->hash) != bucket)
            continue;
        take_out(link);
        push(bucket_at(k, bucket), link);
    }
}

/* The last bucket goes back into the one it was split from. */
static void shrink(struct filter_keys *k)
{
    size_t bucket = k->buckets - 1;
    int segment = segment_of(bucket);
    struct filter_link **from = bucket_at(k, bucket), **to = bucket_at(k, bucket & k->mask >> 1);
    while (*from) {
        struct filter_link *link = *from;
        take_out(link);
        push(to, link);
    }
    set_buckets(k, bucket);
    if (bucket > segment_start(segment))
        return;
    mem_free(k->segments[segment]);
    k->segments[segment] = NULL;
}

int filter_keys_add(struct filter_keys *k, struct filter_link *link)
{
    if (!k->buckets) {
        if (reserve_segment(k, 0) < 0)
            return STATUS_NOMEM;
        set_buckets(k, FILTER_KEYS_FIRST);
    }
    push(bucket_at(k, bucket_of(k, link->hash)), link);
    if (++k->count > k->buckets)
        grow(k);
    return STATUS_OK;
}

void filter_keys_remove(struct filter_keys *k, struct filter_link *link)
{
    assert(k->count > 0);
    take_out(link);
    k->count--;
    for (int i = 0; i < 2 && k->buckets > FILTER_KEYS_FIRST && k->count * 2 < k->buckets; i++)
        shrink(k);
}

struct filter_link *filter_keys_find(const struct filter_keys *k, uint32_t hash)
{
    return k->count ? *bucket_at(k, bucket_of(k, hash)) : NULL;
}
