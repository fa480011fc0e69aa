#ifndef ROWTAP_FILTER_FILTER_RANGES_H
#define ROWTAP_FILTER_FILTER_RANGES_H

#include "change/value.h"

/*
 * Ranges of one column's values, for filter_index.c alone, and which of them a value is in. They
 * are in a treap ordered by where they begin, in which each node knows the range of its subtree
 * that ends last; so what begins too late or has ended before is passed over as a whole. The
 * priorities are keyed hashes of addresses, which no client can choose. Not thread-safe.
 */
struct filter_range {
    struct filter_range *left, *right, *last;
    const struct value *low, *high; /* not owned; NULL: no bound on that side */
    bool after_low, before_high;    /* the bound itself does not belong to it */
    uint32_t priority;
    uint64_t stamp; /* the owner's */
    void *owner;
};

struct filter_ranges {
    struct filter_range *root;
    enum collation collation;
};

/* Takes r, which is from mem_alloc, and whose bounds, owner and stamp are set. */
void filter_ranges_add(struct filter_ranges *s, struct filter_range *r);
/* Gives it back. */
void filter_ranges_remove(struct filter_ranges *s, struct filter_range *r);
void filter_ranges_fini(struct filter_ranges *s); /* frees them all */

/* Calls `found` for each that v, which is not NULL, is in. Nothing may be added or removed then. */
void filter_ranges_find(const struct filter_ranges *s, const struct value *v,
    void (*found)(struct filter_range *r, void *ctx), void *ctx);

#endif
