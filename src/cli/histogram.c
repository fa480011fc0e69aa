#include "cli/histogram.h"

#include <math.h>

/*
 * Durations below 64 have a bucket each. From there on each doubling [2^e, 2^(e+1)) has 64 of them:
 * the six bits below the highest one choose.
 */
static unsigned bucket_of(uint64_t ns)
{
    unsigned e;

    if (ns < HISTOGRAM_STEPS)
        return (unsigned)ns;
    e = 63 - (unsigned)__builtin_clzll(ns);
    return (e - 5) * HISTOGRAM_STEPS + (unsigned)(ns >> (e - 6) & (HISTOGRAM_STEPS - 1));
}

/* The largest duration in the bucket. */
static int64_t top_of(unsigned bucket)
{
    unsigned e = bucket / HISTOGRAM_STEPS + 5, step = bucket % HISTOGRAM_STEPS;

    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    return (int64_t)((((uint64_t)HISTOGRAM_STEPS + step + 1) << (e - 6)) - 1);
}

void histogram_add(struct histogram *h, int64_t ns)
{
    if (ns < 0)
        ns = 0;
    h->buckets[bucket_of((uint64_t)ns)]++;
    h->count++;
    if (ns > h->max)
        h->max = ns;
}

int64_t histogram_at(const struct histogram *h, double part)
{
    uint64_t wanted = (uint64_t)ceil(part * (double)h->count), seen = 0;

    for (unsigned i = 0; i < sizeof(h->buckets) / sizeof(h->buckets[0]); i++) {
        seen += h->buckets[i];
        if (seen >= wanted && seen > 0)
            return top_of(i) < h->max ? top_of(i) : h->max;
    }
    return h->max;
}

void histogram_merge(struct histogram *h, const struct histogram *other)
{
    for (unsigned i = 0; i < sizeof(h->buckets) / sizeof(h->buckets[0]); i++)
        h->buckets[i] += other->buckets[i];
    h->count += other->count;
    if (other->max > h->max)
        h->max = other->max;
}
