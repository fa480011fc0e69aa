#include "base/tally.h"

#define US INT64_C(1000)
#define MS (1000 * US)
#define S (1000 * MS)
#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define COUNT(array) ((int)(sizeof(array) / sizeof(*(array))))

static const int64_t durations[] = {10 * US, 25 * US, 50 * US, 100 * US, 250 * US, 500 * US, MS,
    2500 * US, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS, S, 2500 * MS, 5 * S,
    10 * S};
static const int64_t moments[] = {100, 250, 500, US, 2500, 5 * US, 10 * US, 25 * US, 50 * US,
    100 * US, 250 * US, 500 * US, MS, 2500 * US, 5 * MS, 10 * MS};
static const int64_t counts[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
static const int64_t bytes[] = {
    256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB};

_Static_assert(COUNT(durations) < TALLY_BUCKETS, "the last bucket has no bound");

const struct tally_scale tally_durations = {COUNT(durations), 1e-9, durations};
const struct tally_scale tally_moments = {COUNT(moments), 1e-9, moments};
const struct tally_scale tally_counts = {COUNT(counts), 1, counts};
const struct tally_scale tally_bytes = {COUNT(bytes), 1, bytes};

static int bucket_of(const struct tally_scale *scale, int64_t value)
{
    int i = 0;

    while (i < scale->count && value > scale->bounds[i])
        i++;
    return i < scale->count ? i : TALLY_BUCKETS - 1;
}

void tally_add(struct tally *t, const struct tally_scale *scale, int64_t value)
{
    if (value < 0)
        value = 0;
    atomic_fetch_add_explicit(&t->buckets[bucket_of(scale, value)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->sum, (uint64_t)value, memory_order_relaxed);
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, v + n, memory_order_relaxed);
}

void tally_add_own(struct tally *t, const struct tally_scale *scale, int64_t value)
{
    if (value < 0)
        value = 0;
    add(&t->buckets[bucket_of(scale, value)], 1);
    add(&t->sum, (uint64_t)value);
}

void tally_read(const struct tally *t, struct tally_copy *out)
{
    for (int i = 0; i < TALLY_BUCKETS; i++) {
        uint64_t n = atomic_load_explicit(&t->buckets[i], memory_order_relaxed);

        out->buckets[i] += n;
        out->count += n;
    }
    out->sum += atomic_load_explicit(&t->sum, memory_order_relaxed);
}
