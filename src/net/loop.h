#ifndef ROWTAP_NET_LOOP_H
#define ROWTAP_NET_LOOP_H

#include "base/mailbox.h"
#include "base/tally.h"
#include "net/conn.h"
#include <stdint.h>

/*
 * An event loop: one thread, one epoll, one mailbox, many connections. A turn takes the mailbox
 * first, then readable sockets (and the mailbox again before the bytes of each), then timers and
 * the owners of what has ended, then turn_end, then sends for every connection that has something
 * queued (one send each), then frees. Messages posted before a client's bytes were sent are
 * therefore always handled before those bytes. Where sending takes long it takes the mailbox, and
 * turn_end, in between, too: whose turn to be sent to is still to come gets it all at once.
 */
struct tls;

struct loop_options {
    int id;
    size_t max_message; /* bytes of one incoming message: 1009 past it */
    size_t max_queue;   /* bytes queued for one connection: it is slow past it */
    /*
     * Memory of all queues but for what is shared: past it a connection is slow with more than its
     * share of that, and 64 KiB. 0: no bound.
     */
    size_t max_queues;
    size_t
        max_halves; /* bytes of messages half received: past it the oldest get 1013; 0: no bound */
    size_t slow_queue; /* and with more than this for slow_ms without a break; 0: no bound */
    int64_t slow_ms;
    bool forget;   /* a slow connection's news are forgotten; otherwise it is closed with 1013 */
    bool compress; /* permessage-deflate may have been negotiated: conn_compress */
    size_t compress_min;  /* bytes of a text or shared body that is worth compressing */
    int64_t heartbeat_ms; /* a ping this often; nothing heard within another one: 1001; 0: none */
    /* A WebSocket with no message either way for this long: 1001; 0: any time. */
    int64_t idle_ms;
    void *ctx;                   /* the receiver that mailbox messages run with */
    void (*turn_end)(void *ctx); /* before sending; may be NULL */
    /* About once a second, and when loop_tick_by asked for it; may be NULL. */
    void (*tick)(void *ctx, int64_t mono_ms);
    /*
     * A connection is slow and about to be closed with 1013: writes the last
     * message to send it, if any. May be NULL.
     */
    void (*slow)(void *owner, struct buf *last);
};

struct loop_stats {
    uint64_t accepted, closed, messages_in, messages_out, bytes_in, bytes_out, slow_closed, sends;
    uint64_t slow_forgotten; /* times that news were forgotten */
    uint64_t connections, queued_bytes;
    uint64_t tls;        /* connections with TLS */
    uint64_t unanswered; /* connections with a ping outstanding for longer than half a heartbeat */
    int64_t latency_total_us; /* over connections with a measured latency */
    uint64_t latency_count;
    uint64_t largest_in, largest_out; /* message so far, in bytes, not compressed */
    /* With permessage-deflate: bytes of payload of the messages that came or went compressed. */
    uint64_t deflating; /* connections */
    uint64_t deflated_bodies, deflated_messages, deflated_before, deflated_after;
    uint64_t inflated_messages, inflated_before, inflated_after;
    struct tally_copy queues; /* bytes that waited for a connection when it was its turn to send */
};

struct loop *loop_new(const struct loop_options *options); /* starts the thread; NULL: errno */
/*
 * Closes every connection with 1012, waits at most `grace_ms` for the peers, ends the thread. What
 * a peer has not taken after half of it is left out, so that it hears of the Close frame.
 * Messages posted before are still run, the last of them perhaps on the caller's thread in the
 * loop's name; sockets still to be adopted are refused. No more posts may follow. Then loop_free.
 */
void loop_stop(struct loop *l, int64_t grace_ms);
void loop_free(struct loop *l);

/*
 * Whether the loop still turns: true when it has come round since the last call. One thread asks.
 */
bool loop_turns(struct loop *l);

int loop_id(const struct loop *l);
void loop_post(struct loop *l, struct message *m); /* any thread */
/* The same in two steps: the loop is only sure to see what was put when it is woken. Any thread. */
void loop_put(struct loop *l, struct message *m);
bool loop_wake(struct loop *l);             /* true: it slept */
bool loop_is_current(const struct loop *l); /* the caller runs on its thread */
/* The next tick comes no later than that; its thread only. */
void loop_tick_by(struct loop *l, int64_t mono_ms);

/*
 * Gives a connected socket to the loop, which owns it from now on, whatever happens (any thread).
 * `hello` (copied) is sent first as it is: the handshake's answer. `tls`, whose handshake is
 * complete, goes the way of fd; NULL without TLS. STATUS_NOMEM: fd closed, ops->refused(start_ctx)
 * called.
 */
int loop_adopt_tls(struct loop *l, int fd, struct tls *tls, const struct conn_ops *ops,
    void *start_ctx, const void *hello, size_t hello_len);
static inline int loop_adopt(struct loop *l, int fd, const struct conn_ops *ops, void *start_ctx,
    const void *hello, size_t hello_len)
{
    return loop_adopt_tls(l, fd, NULL, ops, start_ctx, hello, hello_len);
}

/* A turn begins at that time (clock_mono_ms) at the latest. Its thread only. */
void loop_wake_by(struct loop *l, int64_t mono_ms);

void loop_stats(struct loop *l, struct loop_stats *out); /* any thread; counters may lag a turn */

#endif
