#ifndef ROWTAP_HUB_CHANGELOG_H
#define ROWTAP_HUB_CHANGELOG_H

#include "change/batch.h"

/*
 * The recent past of one loop: references to the batches it has delivered, in order and without a
 * gap, so that a client can resume from there. The loops share the batches, so their memory is held
 * once however many loops there are. Loop thread only.
 */
struct changelog {
    struct batch **ring;
    size_t cap; /* a power of two */
    size_t first, count;
    size_t bytes, max; /* sum of the batches' bytes, and its bound */
    uint64_t after;    /* every change after this one is here */
};

/* Empty; the next change will be seq + 1. A zero max keeps nothing. */
void changelog_init(struct changelog *h, size_t max, uint64_t seq);
void changelog_fini(struct changelog *h);

/*
 * Appends a delivered batch, taking its own reference, and drops the oldest past the bound. A batch
 * larger than the bound, or one for which there is no memory, leaves the history empty.
 */
void changelog_add(struct changelog *h, struct batch *b);
/* Nothing up to that change is kept. */
void changelog_forget(struct changelog *h, uint64_t seq);
/* The batch that holds this change, NULL when it is not here. Good until the next changelog_add. */
const struct batch *changelog_find(const struct changelog *h, uint64_t seq);

#endif
