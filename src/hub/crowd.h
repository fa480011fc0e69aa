#ifndef ROWTAP_HUB_CROWD_H
#define ROWTAP_HUB_CROWD_H

#include "hub/subscription.h"

/*
 * Subscriptions that get every change of a table in the same words: all of it, without a filter or
 * a policy's rule, each the only one of its connection and of the same number. No row is matched
 * with them one by one, and the messages about changes that follow each other are kept back, as one
 * piece of a body, until all that were published by now are through: then each connection is
 * visited once. Loop thread only.
 */
#define CROWD_CHANGES 64 /* kept back at most */

struct batch;
struct binding;
struct change;
struct fanout;
struct session;
struct shard;
struct transaction;

struct crowd {
    struct crowd *next; /* of the same binding */
    struct projection *projection;
    uint32_t number; /* of each of its subscriptions */
    uint32_t count, cap;
    struct subscription **members;
};

/* What is kept back, of one crowd of the shard. Zeroed: nothing. */
struct crowd_news {
    struct crowd *crowd; /* NULL: nothing */
    struct body *body;   /* a reference */
    uint32_t from, size; /* in it */
    uint32_t largest;    /* payload of a message */
    uint32_t count;      /* of changes */
    struct crowd_change {
        struct batch *batch; /* a reference, for the other two */
        const struct transaction *transaction;
        const struct change *change;
    } changes[CROWD_CHANGES];
};

/*
 * Takes a bound subscription, which is not in the index, into one of the binding's crowds; false:
 * it is of another kind, or there is no memory, and it belongs in the index.
 */
bool crowd_join(struct binding *b, struct bound *bound);
bool crowd_has(const struct bound *bound);
void crowd_leave(struct binding *b, struct bound *bound); /* crowd_has */

/* A row's change, for all crowds of its table. */
void crowd_match(struct fanout *f, struct binding *b);

/*
 * Sends what is kept back. Before anything else is sent to a member, and before anything changes
 * that says who hears what.
 */
void crowd_tell(struct shard *s);

#endif
