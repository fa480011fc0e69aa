#ifndef ROWTAP_HUB_SUBSCRIPTION_H
#define ROWTAP_HUB_SUBSCRIPTION_H

#include "base/list.h"
#include "filter/filter_index.h"
#include "hub/dialect.h"
#include "hub/view.h"

/*
 * What one connection asked to hear of one table, kept as the client wrote it, because tables
 * change and the filter is then bound again. Owned by its session; loop thread only.
 */
struct grant;
struct session;
struct topic;

/* A subscription's filter and columns as they apply to one definition of its table. */
struct bound {
    struct subscription *sub;
    struct view view;
    struct filter_entry entry; /* the last, with its filter behind it */
};

/* There may be a million: the members are in the order that takes the least room. */
struct subscription {
    /* What delivering to it takes comes first. */
    struct session *session;
    struct follower *follower;       /* while it gets the past: see hub/replay.h */
    struct snapshot *snapshot;       /* while it gets that: see hub/snapshot.h */
    struct subscription *next_match; /* of its session, for the change being delivered */
    struct projection *match_projection;
    union {
        struct bound *bound;      /* to the topic's table; NULL while there is none of that name */
        struct projection *whole; /* with no topic: how to write any table's change */
    };
    uint32_t number;              /* "s1" is 1 */
    uint8_t events;               /* of EVENTS_ALL */
    uint8_t match_transition : 2; /* enum transition */
    bool match_batch : 1;
    bool self : 1;
    bool batch : 1; /* a transaction's changes in one message */
    uint16_t text_len;
    struct topic *topic;   /* NULL: every table */
    struct list node;      /* in the topic, or in topics->every */
    struct bound *leaving; /* to a table dropped in the transaction being delivered */
    uint16_t column_count;
    uint8_t filter_count;
    char text[]; /* the filters, then the columns: a uint16_t length and the bytes of each */
};

/* Bytes that all filters and column names of one subscription may have together. */
#define SUBSCRIPTION_MAX_TEXT 65535

/* Not yet filed anywhere. NULL and *status: STATUS_NOMEM, or STATUS_TOO_LARGE past a bound. */
struct subscription *subscription_new(
    struct session *session, const struct command *cmd, int *status);
void subscription_free(struct subscription *s); /* unfiled before: see topics_remove */

/* The next text, starting with *pos = 0: filter_count filters, then column_count column names. */
struct text subscription_text(const struct subscription *s, size_t *pos);

/* The parts of a subscription bound to `table`, not yet in an index. On failure as filter_new. */
struct filter *subscription_filter(const struct subscription *s, const struct table *table,
    const struct grant *g, struct error_text *err, int *status);
/*
 * Sets the bits of the wanted columns in `bits` (at least column_count of the table, zeroed). *all:
 * they are all wanted. STATUS_INVALID and err when a column is not there, or not granted.
 */
int subscription_columns(const struct subscription *s, const struct table *table,
    const struct grant *g, uint64_t *bits, bool *all, struct error_text *err);

#endif
