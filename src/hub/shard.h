#ifndef ROWTAP_HUB_SHARD_H
#define ROWTAP_HUB_SHARD_H

#include "base/mailbox.h"
#include "hub/changelog.h"
#include "hub/crowd.h"
#include "hub/frames.h"
#include "hub/gate.h"
#include "hub/hub.h"
#include "hub/login.h"
#include "hub/presence.h"
#include "hub/topic.h"
#include "net/loop.h"

/*
 * One loop's part of the hub. Everything but the atomics and the publications belongs to the loop's
 * thread.
 *
 * Publications are a ring of messages that exist from the start, so that handing over a batch
 * cannot fail: the database thread fills the next one, the loop empties them in the same order.
 * `pending` counts the filled ones.
 */
#define SHARD_PUBLICATIONS 1024

struct publication {
    struct message message;
    struct batch *batch;
    int64_t published_ns; /* by the steady clock; 0: nobody waits for it */
};

struct shard {
    struct hub *hub;
    const struct hub_options *options; /* the hub's */
    struct gate *gate;                 /* where the publisher waits */
    struct loop *loop;
    struct publication *ring;
    uint32_t next; /* to fill; the publisher's */
    bool urgent;   /* somebody waits for a batch that was put, connected or not; the publisher's */
    atomic_uint pending;
    atomic_size_t backlog;   /* bytes of the batches pending */
    atomic_uint connections; /* given to this loop and not ended */
    atomic_ullong subscriptions, memberships, deliveries;
    atomic_uint running_queries;                /* that the database has */
    atomic_int query_listeners;                 /* who joined channel "queries" */
    atomic_ullong history_bytes, history_after; /* of the history, for hub_stats */
    atomic_ullong closed[HUB_CODES];            /* connections, by their close code */
    struct tally fanout_times;                  /* ns, of a batch */
    struct tally delays;      /* ns, from its publication until it is queued for the clients */
    struct tally match_times; /* ns, of a row's change; some of them */
    uint32_t matched;         /* changes, for that */

    uint64_t seq;           /* of the last change handled */
    uint64_t gap;           /* the last one: nothing is resumed from before it */
    uint64_t open_tx;       /* the transaction that goes on in the next batch, or 0 */
    struct list changesets; /* of the transaction that is live */
    struct list sessions;
    size_t text_bytes; /* of its sessions' filters and columns */
    struct topics topics;
    struct map channels;
    struct presence_room room; /* channel "collaboration" */
    struct changelog history;
    struct list replays;       /* those that can go on; the first is next */
    struct list ahead;         /* those that stand after the last change handled */
    struct list waiting;       /* those in line for a page of the journal */
    struct list parked;        /* those that hold pages while their clients read */
    uint32_t pages;            /* held or being read */
    bool told_damaged;         /* that the journal cannot be read */
    struct list drained;       /* slow consumers that have read what was left */
    struct logins logins;      /* the ends of tokens */
    struct policy *policy;     /* a reference; NULL: everybody may do everything */
    struct list polls;         /* long polls, by when they are due */
    struct list polls_ready;   /* those that have something to answer */
    struct list snapshots;     /* those that have rows to write; the first is next */
    uint32_t snapshot_count;   /* all of them */
    struct list queries;       /* those that have something to write; the first is next */
    struct buf rows;           /* of the message being written */
    struct map replay_columns; /* their projections to some of a table's columns */
    struct message again;      /* wakes the loop for the next slice */
    bool waking;               /* it has been posted */
    int64_t busy_ns;           /* with replays waiting: when this turn's first batch came, or 0 */
    struct buf scratch;        /* the message being written */
    struct frames frames;      /* of the change being delivered, and what waits to be sent */
    struct crowd_news crowd_news;
    /* Room for the matches of the session with the most subscriptions. */
    struct subscription **matches;
    uint32_t *numbers;
    size_t match_cap;
};

/* Starts its loop; NULL: errno. The options and the gate outlive it. */
struct shard *shard_new(
    struct hub *hub, int id, const struct hub_options *options, struct gate *gate);
void shard_free(struct shard *s); /* its loop has been stopped */

bool shard_full(const struct shard *s); /* more than max_backlog waits; any thread */
/* Database thread; there is a free place. The loop is not woken. */
void shard_publish(struct shard *s, struct batch *b);
/*
 * Wakes it, unless it has no connections and may take what was published when it is next awake.
 * True: it slept, and has few.
 */
bool shard_wake_loop(struct shard *s);

void shard_wake(struct shard *s); /* another turn follows this one at once; its thread only */

/*
 * For what comes back from the pager, on its thread. Posts to the shard's loop; false after
 * hub_stop: then nothing may be posted, and hub_keep holds the message until hub_free runs it, with
 * no receiver, to be freed. Any thread.
 */
bool hub_post(struct hub *h, struct shard *s, struct message *m);
struct shard *hub_shard(const struct hub *h, int i); /* NULL past the last; any thread */
void hub_keep(struct hub *h, struct message *m);

uint64_t hub_subscriptions(const struct hub *h); /* to tables and channels; any thread */
int hub_loops(const struct hub *h); /* how many; a shard's place is its loop's id; any thread */
/* Counts bytes of broadcasts on their way between loops; false: too many already. Any thread. */
bool hub_charge(struct hub *h, size_t bytes);
void hub_discharge(struct hub *h, size_t bytes);
uint64_t hub_next_number(struct hub *h); /* of a message that no connection has sent */

/* Makes room in matches and numbers. STATUS_NOMEM. */
int shard_reserve_matches(struct shard *s, size_t count);
void shard_leave(struct shard *s); /* one of its connections has ended; any thread */

#endif
