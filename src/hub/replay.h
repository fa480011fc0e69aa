#ifndef ROWTAP_HUB_REPLAY_H
#define ROWTAP_HUB_REPLAY_H

#include "base/list.h"
#include "hub/view.h"

/*
 * How subscriptions that asked for the past (`since`), or have got a snapshot, come to the present:
 * from the journal, where memory does not reach back far enough, then from the loop's history; in
 * slices at the end of the loop's turns, and no faster than the client reads. Those of one session
 * that stand at the same change go on together, so that one message can name them all. A
 * subscription on its way is filed like any other and follows the schema, but hears nothing live
 * until it has reached the present: then it only has to be let go, which cannot fail. Loop thread
 * only.
 */
struct session;
struct shard;
struct subscription;
struct membership;
struct page;

/*
 *            +----------- it can go on ------------+-----------------+
 *            v                                     |                 |
 *     replays (ready) --- the queue is full ---> parked, if it has pages, else alone
 *        |   |   ^
 *        |   |   +-- the page is there ---- alone <-- a place is free --+
 *        |   +------ needs a page ------------^-----------> waiting ----+
 *        +---------- stands after the shard ----> ahead ---> replays
 */
struct replay {
    struct list node;  /* of its session */
    struct list ready; /* in one of its shard's lists, or alone */
    bool full;         /* it waits for the connection's queue to drain */
    struct session *session;
    struct list followers;
    struct list changes;           /* of the transaction it stands in: none or one changeset */
    struct page *page, *next_page; /* of the journal; perhaps not there yet */
    uint64_t seq;                  /* of the last change it is through with */
};

/* One subscription or membership in a replay. */
struct follower {
    struct list node;
    struct replay *replay;
    struct subscription *sub;
    struct membership *membership; /* of the channel "tables"; exactly one of the two is set */
    /* How it sees the rows, as it applies to the definition of the table that was met last. */
    const struct table *table;
    struct view view;
    struct filter *filter;
    bool gone; /* it has heard that there was no table of its name */
};

/* The reasons of a resync. */
#define RESYNC_EPOCH_CHANGED "epoch_changed"
#define RESYNC_FUTURE "future"
#define RESYNC_HISTORY_LOST "history_lost"
#define RESYNC_SCHEMA_CHANGED "schema_changed"
#define RESYNC_ROWIDS_RENUMBERED "rowids_renumbered"

/*
 * Where a command's `since` begins: NULL and the change after which to go on in *seq, or the reason
 * why it cannot be had.
 */
const char *replay_position(const struct shard *s, const struct command *cmd, uint64_t *seq);

/*
 * Begins after `seq` for one of the two (the other is NULL); it hears nothing live from now on.
 * `seq` may lie before what is kept (it is told so) or after what the shard has handled (it waits).
 * Nothing is sent before the end of the turn. STATUS_NOMEM.
 */
int replay_start(
    struct session *s, struct subscription *sub, struct membership *membership, uint64_t seq);
void replay_cancel(struct follower *f); /* NULL is allowed */
/* All of a session's that stand before that change: what follows them is live. */
void replay_drop(struct session *s, uint64_t before);

/* Bytes queued for a connection before it has to read; the half of it is little. */
size_t replay_queue_high(const struct shard *s);

void replay_run(struct shard *s);       /* one slice of the next replay; there is one */
void replay_follow(struct shard *s);    /* the shard has handled a batch */
void replay_ready(struct replay *r);    /* the page that it waits for is there */
void replay_drained(struct session *s); /* the session's connection has room again */

#endif
