#ifndef ROWTAP_CLI_HISTOGRAM_H
#define ROWTAP_CLI_HISTOGRAM_H

#include <stdint.h>

/*
 * Counts of durations in buckets that grow with the duration: within 2 percent of the truth from a
 * nanosecond to centuries. A zeroed struct is empty. Not thread-safe.
 */
#define HISTOGRAM_STEPS 64 /* buckets for each doubling */
struct histogram {
    uint64_t buckets[60 * HISTOGRAM_STEPS];
    uint64_t count;
    int64_t max; /* exact */
};

void histogram_add(struct histogram *h, int64_t ns);                      /* below 0 counts as 0 */
void histogram_merge(struct histogram *h, const struct histogram *other); /* adds all of other */
/* The duration that `part` (0 to 1) of all are not above; 0 when there is none. */
int64_t histogram_at(const struct histogram *h, double part);

#endif
