#ifndef ROWTAP_HUB_FANOUT_H
#define ROWTAP_HUB_FANOUT_H

#include "base/list.h"
#include "change/batch.h"
#include <stdbool.h>

/* How changes reach the sessions, live or from the history. Loop thread only. */
struct shard;
struct session;
struct subscription;
struct membership;
struct binding;
struct projection;
struct view;

/* The change being delivered. */
struct fanout {
    struct shard *shard;
    struct batch *batch; /* that it is of; NULL: it is not live */
    const struct transaction *transaction;
    const struct change *change;
    struct binding *binding;      /* of its table, for a row; NULL: nobody subscribes to that */
    const struct table *unwanted; /* nor to every table: nothing to look for */
    struct change told;           /* as it is told to some: see enum projection_shape */
    struct session *matched;      /* chain of sessions that have matches */
    struct projection *used;      /* chain of projections that have a body */
    struct list *changesets;      /* those begun */
    bool live;                    /* not from the history */
    uint64_t deliveries;
    size_t bytes; /* of the bodies delivered */
};

/*
 * Delivers a batch's changes to all who listen, in order; what is for crowds may be kept back until
 * crowd_tell.
 */
void fanout_batch(struct shard *s, struct batch *b);
void fanout_close(struct shard *s); /* the live transaction is through, whatever was to follow */

/* The steps for a row's change: all that match, then the messages. */
bool fanout_hears(const struct fanout *f, const struct subscription *sub); /* who made it counts */
void fanout_match(struct fanout *f, struct subscription *sub, struct projection *p,
    bool matched_new, bool matched_old);
/* The same for a row that its filter matched, if it wants the event and may see it. */
void fanout_match_row(struct fanout *f, struct subscription *sub, const struct view *v,
    bool matched_new, bool matched_old);
void fanout_match_every(struct fanout *f, struct subscription *sub); /* one to every table */
void fanout_deliver(struct fanout *f);                               /* ends the change */
/* The steps for a change of a table. */
void fanout_tell(struct fanout *f, const struct membership *m);
void fanout_forget(struct fanout *f); /* ends the change */
/* Ends a number of changes that were not a whole batch. */
void fanout_end(struct fanout *f);

#endif
