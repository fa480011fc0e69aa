#ifndef ROWTAP_BASE_TALLY_H
#define ROWTAP_BASE_TALLY_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * Counts of observations in a few fixed buckets, as Prometheus wants a histogram: for what many
 * threads add to and one reads now and then. Nothing is locked. A zeroed struct is empty. (For
 * percentiles of one thread's durations there is cli/histogram.h.)
 */
#define TALLY_BUCKETS 24

struct tally_scale {
    int count;             /* of bounds, at most TALLY_BUCKETS - 1 */
    double unit;           /* what 1 is in the exported unit: 1e-9 for nanoseconds as seconds */
    const int64_t *bounds; /* ascending; a bucket is for what is not above its bound */
};
extern const struct tally_scale tally_durations; /* nanoseconds, 10 µs to 10 s */
extern const struct tally_scale tally_moments;   /* nanoseconds, 100 ns to 10 ms */
extern const struct tally_scale tally_counts;    /* 1 to 1024 */
extern const struct tally_scale tally_bytes;     /* 256 B to 64 MiB */

struct tally {
    _Atomic uint64_t buckets[TALLY_BUCKETS]; /* the last one: above all bounds */
    _Atomic uint64_t sum;
};

void tally_add(struct tally *t, const struct tally_scale *scale, int64_t value); /* any thread */
/* The same where only the caller's thread ever adds to it: cheaper. */
void tally_add_own(struct tally *t, const struct tally_scale *scale, int64_t value);

/* A copy to look at. Its count is that of all buckets. */
struct tally_copy {
    uint64_t buckets[TALLY_BUCKETS];
    uint64_t count, sum;
};
void tally_read(const struct tally *t, struct tally_copy *out); /* adds to *out; any thread */

#endif
