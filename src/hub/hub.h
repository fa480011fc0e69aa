#ifndef ROWTAP_HUB_HUB_H
#define ROWTAP_HUB_HUB_H

#include "base/buf.h"
#include "base/tally.h"
#include "change/batch.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The hub: several loops, each with its connections, their sessions and subscriptions and an index
 * of their filters. Nothing is shared between loops but immutable batches, so nothing is locked.
 */
struct hub;
struct database;       /* capture/database.h */
struct dialect;        /* hub/dialect.h */
struct identity;       /* access/identity.h */
struct limiter_client; /* access/limiter.h */
struct policy;         /* access/policy.h */
struct tokens;         /* access/tokens.h */
struct tls;            /* net/tls.h */

struct hub_options {
    int loops;          /* 0: one per core */
    size_t max_message; /* bytes of an incoming message */
    size_t max_queue;   /* bytes queued for one connection: it is a slow consumer past it */
    size_t max_queues;  /* of all, see loop_options; 0: no bound */
    size_t max_halves;  /* likewise */
    size_t slow_queue;  /* and with more than this for slow_ms without a break; 0: no bound */
    int64_t slow_ms;
    bool compress;       /* see loop_options */
    size_t compress_min; /* likewise */
    bool resync_slow;    /* a slow consumer's queue is forgotten; otherwise it is closed */
    /*
     * Bytes of batches not yet handled by all loops: writers wait past it. 0: no bound (1024
     * batches always are one).
     */
    size_t max_backlog;
    size_t history; /* bytes of the newest batches kept for clients that resume; 0: none */
    int64_t heartbeat_ms;
    int64_t idle_ms;          /* a WebSocket with no message for this long is closed; 0: none is */
    uint32_t max_connections; /* 0: no bound */
    uint32_t max_subscriptions;   /* of one connection, channels included; 0: no bound */
    size_t max_all_subscriptions; /* of all; 0: no bound */
    uint32_t max_requests;        /* of one connection, on their way; 0: no bound */
    uint32_t max_queries;         /* of one connection, under way at once; 0: no bound */
    struct policy *policy; /* who may what, read during hub_new; NULL: everybody everything */
    const char *version;
    const char *epoch;
    uint64_t seq;                /* of the last change before the first batch */
    const struct schema *schema; /* the present one; the hub takes its own reference */
    /* Where snapshots and the journal are read; NULL: neither can be had. Outlives hub_stop. */
    struct database *db;
    struct tokens *tokens; /* for those that renew theirs; NULL: the server has no keys */
};

struct hub *hub_new(const struct hub_options *options, struct buf *err);
/*
 * Closes all connections with 1012 and ends the loops; at most grace_ms. Then database_close, which
 * hands back what it is reading for the hub, then hub_free.
 */
void hub_stop(struct hub *h, int64_t grace_ms);
void hub_free(struct hub *h);

/*
 * Hands a sealed batch to every loop; takes its own references. Database thread only, in commit
 * order. Nothing happens after hub_stop. Blocks while more than max_backlog waits for a loop: that
 * is how fan-out slows the writers.
 */
void hub_publish(struct hub *h, struct batch *b);

/* The same in two steps: a loop that sleeps hears of what was put when it is woken. */
void hub_put(struct hub *h, struct batch *b);
void hub_wake(struct hub *h);

/*
 * Another policy holds from now on, where there was one: see permit_follow in hub/permit.h.
 * STATUS_NOMEM: nothing has changed. One thread, before hub_stop.
 */
int hub_set_policy(struct hub *h, struct policy *p);

/*
 * Reserves a place under max_connections, before the upgrade: false when the server is full. Given
 * back by hub_unreserve, or when the adopted connection ends. Any thread.
 */
bool hub_reserve(struct hub *h);
void hub_unreserve(struct hub *h);

struct hub_client {
    struct identity *who; /* NULL for nobody; the hub takes a reference of its own */
    const char *address;  /* "127.0.0.1:4711"; copied, for logs */
    /* Of a stream, copied: its command, and lines for the head of the HTTP response. */
    const char *request, *headers;
    /* Who it is to the limiter: a connection, which the hub ends; or NULL, not bounded. */
    struct limiter_client *limits;
    struct tls *tls; /* NULL without TLS; it goes the way of the socket */
    int window_bits; /* 8 to 15 when permessage-deflate was agreed on, see conn_compress */
};
/*
 * Gives a socket (and the reservation) to a loop. `hello` is the 101 to send first; a stream has
 * none, for its head is part of the command's reply (see hub/dialect.h). The hub owns fd from now
 * on, whatever happens. Any thread. STATUS_NOMEM; STATUS_CLOSED after hub_stop.
 */
int hub_adopt(struct hub *h, int fd, const struct dialect *dialect, const struct hub_client *client,
    const void *hello, size_t hello_len);

/* Whether all loops have come round since the last call. One thread asks, before hub_stop. */
bool hub_turns(struct hub *h);

/* Close codes that are counted; what is none of them is counted as the last, 0. */
#define HUB_CODES 13
extern const int hub_codes[HUB_CODES];

/* A message to a channel from outside of all connections. Texts are read during the call. */
struct hub_message {
    const char *channel, *event, *user_id; /* event and user_id may be NULL */
    const char *data;                      /* JSON */
    size_t data_len;
};
/*
 * Sends it to the channel's members and waits, at most wait_ms, until every loop has queued it.
 * *delivered says for how many connections it was, so far; *pending, how many loops have not done
 * it yet. STATUS_TOO_LARGE: more than max_message; STATUS_CONFLICT: too much is on its way;
 * STATUS_NOMEM. The channel's name was checked (hub/channel.h). Any thread but a loop's.
 */
int hub_broadcast(struct hub *h, const struct hub_message *m, int64_t wait_ms, uint64_t *delivered,
    unsigned *pending);

struct hub_stats {
    uint64_t connections, accepted, closed, subscriptions;
    uint64_t messages_in, messages_out, bytes_in, bytes_out, deliveries, slow_closed, slow_resynced;
    uint64_t tls; /* connections with TLS */
    uint64_t unanswered, queued_bytes;
    uint64_t largest_in, largest_out; /* message so far, in bytes, not compressed */
    /* With permessage-deflate, as in struct loop_stats. */
    uint64_t deflating, deflated_bodies, deflated_messages, deflated_before, deflated_after;
    uint64_t inflated_messages, inflated_before, inflated_after;
    uint64_t running_queries; /* that clients started and the database has not ended */
    uint64_t gaps;            /* in the changes, that clients were told of */
    /* Of the memory's history, which the loops share: every change after history_after is in it. */
    uint64_t history_bytes, history_after;
    uint64_t closed_by_code[HUB_CODES];
    uint64_t batches_waiting,
        backlog_bytes;              /* published and not handled yet, by the slowest loop */
    struct tally_copy fanout_times; /* ns, of one batch on one loop */
    struct tally_copy delays; /* ns, from its publication until it was queued for the clients */
    struct tally_copy match_times; /* ns, of some of the rows' changes */
    struct tally_copy queues; /* bytes that waited for a connection when it was its turn to send */
    double latency_ms;        /* mean of the connections' last pings, 0 when there is none */
};
/* Any thread; but on a loop what the others are behind with is not waited for. */
void hub_stats(struct hub *h, struct hub_stats *out);
const struct hub_options *hub_settings(const struct hub *h); /* as given; any thread */
int64_t hub_uptime(const struct hub *h);                     /* seconds; any thread */

#endif
