#ifndef ROWTAP_HUB_TOPIC_H
#define ROWTAP_HUB_TOPIC_H

#include "base/list.h"
#include "base/map.h"
#include "filter/filter_index.h"
#include "hub/subscription.h"

/*
 * The tables somebody on this loop subscribes to, and how they follow the schema. Loop thread only.
 *
 * A topic is a table's NAME and its subscriptions. A binding is a topic's subscriptions as they
 * apply to one definition of a table: the index of their filters, found by the table's id. A topic
 * without a binding waits for a table of its name. While a transaction that drops a table is
 * delivered, the topic has two: `leaving` for the last rows of the dropped one, `binding` for its
 * successor, if any.
 */
struct crowd;
struct topic;

struct binding {
    struct topic *topic;
    const struct table *table;
    struct filter_index *index;
    struct crowd *crowds;   /* those of its subscriptions that are not in the index */
    struct map projections; /* those of some of its columns */
};

struct topic {
    struct list subscriptions;
    struct binding *binding, *leaving;
    struct list leaving_node;
    bool busy; /* its subscriptions are being walked: not freed even if empty */
    size_t len;
    char name[];
};

struct topics {
    const struct schema *schema;
    struct map by_name; /* struct topic, in any ASCII case */
    struct map by_id;   /* struct binding, by its table's id */
    struct map whole;   /* projections of every column */
    struct list every;  /* subscriptions to every table */
    struct list leaving;
    uint64_t projections; /* made so far */
};

void topics_init(struct topics *t, const struct schema *schema); /* takes its own reference */
void topics_fini(struct topics *t);                              /* no subscription may be left */

/*
 * Files a new subscription to `table` (of the present schema), or to every table (NULL).
 * STATUS_NOMEM, or STATUS_INVALID and err when the filter or a column does not fit; nothing is
 * changed then.
 */
int topics_add(
    struct topics *t, struct subscription *s, const struct table *table, struct error_text *err);
/* The contrary, before subscription_free. Needs no memory. */
void topics_remove(struct topics *t, struct subscription *s);

/*
 * Its connection gets a second subscription, so it has to be found by itself from now on.
 * STATUS_NOMEM: nothing is changed.
 */
int topics_part(struct subscription *s);

/* Those that subscribe to a table of this name; NULL: nobody does. */
struct topic *topics_find(const struct topics *t, const struct table *table);
/* The binding for rows of this definition of a table, NULL when nobody subscribes to it. */
struct binding *topics_binding(struct topics *t, const struct table *table);

/*
 * Follows a transaction that changed the schema: topics_follow before its changes are delivered,
 * topics_settle after. Subscriptions that no longer fit end with an error to their client.
 */
void topics_follow(struct topics *t, const struct schema *schema);
void topics_settle(struct topics *t);

#endif
