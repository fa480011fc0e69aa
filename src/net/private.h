#ifndef ROWTAP_NET_PRIVATE_H
#define ROWTAP_NET_PRIVATE_H

#include "base/pulse.h"
#include "base/tally.h"
#include "net/deflate.h"
#include "net/inflate.h"
#include "net/loop.h"
#include "net/outq.h"
#include "net/tls.h"
#include <pthread.h>
#include <stdatomic.h>

/*
 * What the files of this folder share about connections and loops. Everything but the mailbox and
 * the counters belongs to the loop's thread.
 *
 *              conn_close                 peer's Close
 *     OPEN -------------------> CLOSING ---------------+
 *       |                                              v        all sent, SHUT_WR
 *       +------------------------------------------> FINISHING -------------------> DRAINING
 *         peer's Close (answered), protocol failure, end of its stream
 *
 * From every state to DEAD when the socket fails, its end is reached or the state has lasted too
 * long.
 */
enum conn_state {
    CONN_OPEN,
    CONN_CLOSING,   /* our Close is queued; the peer's is awaited, nothing else matters */
    CONN_FINISHING, /* the queue is still sent; input is thrown away */
    CONN_DRAINING, /* our side is shut; input is thrown away up to its end, so that no reset is sent
                    */
    CONN_DEAD,     /* the socket is closed; freed at the end of the turn that told the owner */
};

/* What was received and is to be parsed in the next turn, or later. */
struct rest {
    struct list node; /* in one of the loop's lists */
    int64_t due;      /* ms; in `resting` */
    struct conn *conn;
    size_t len;
    char data[];
};

/* A message of which only a part has come. */
struct half {
    struct list node; /* in the loop's list */
    struct conn *conn;
    size_t bytes; /* of memory */
};

struct conn {
    /* What sending to it takes is together, for there may be many to send to. */
    struct list dirty; /* in the loop's dirty list, or alone */
    struct loop *loop;
    const struct conn_ops *ops;
    struct outq out;
    int fd;
    uint8_t state;
    uint8_t window_bits;    /* of what the peer decompresses; 0: nothing is compressed */
    bool blocked : 1;       /* the socket took less than it was given */
    bool eof : 1;           /* the peer will send no more */
    bool half : 1;          /* between two pings */
    bool unanswered : 1;    /* nothing has arrived since the last ping */
    bool late : 1;          /* and that for half a heartbeat; counted */
    bool forgot : 1;        /* its news were forgotten, and not all of the rest is sent */
    uint32_t events;        /* what epoll watches */
    uint32_t active_ms;     /* of the last message; ms of the loop's time, the low bits */
    uint16_t code;          /* to report; 0: none was seen or sent */
    uint16_t pongs;         /* queued since the queue was last empty */
    uint32_t drained_below; /* the owner waits until less is queued; 0: it does not */
    uint64_t sent;          /* bytes, so far */
    size_t ping_ahead;      /* bytes to send up to the end of the last ping */
    struct list notes;      /* by what they wait for */
    struct list heavy;      /* in the loop's list of those above slow_queue, or alone */
    struct body *late_pong; /* the answer to the latest of too many pings */

    struct list timer; /* in one of the loop's lists: idle, closing, draining, dead, told */
    struct list quiet; /* in the loop's list by quiet_due, or alone */
    /* Likewise low bits. */
    uint32_t quiet_due; /* when it is next looked at */
    uint32_t heavy_since;
    uint32_t ping_ms;   /* when the queue last moved with the last ping still in it, or we ended */
    uint32_t idle_ms;   /* since when the parser's idle frames are counted */
    int32_t latency_us; /* of the last pong; -1: there was none */
    uint32_t retry_at;  /* while blocked: with more bytes queued the socket is tried again */
    struct rest *rest;  /* or NULL */
    struct half *half_in; /* or NULL */
    int64_t due;          /* ms; when the timer list wants it */
    void *owner;
    struct tls *tls; /* or NULL */
    uint64_t id;
    struct ws_parser parser;
    int64_t ping_ns; /* when the last ping was queued, and its payload */
    uint64_t messages_in;
};

/* Written by the loop's thread alone, read by any: see loop_count. */
struct loop_counters {
    _Atomic uint64_t accepted, closed, messages_in, messages_out, bytes_in, bytes_out, slow_closed;
    _Atomic uint64_t slow_forgotten;
    _Atomic uint64_t sends, connections, queued_bytes, unanswered, latency_total_us, latency_count;
    _Atomic uint64_t deflating, tls;          /* connections */
    _Atomic uint64_t largest_in, largest_out; /* messages, in bytes, not compressed */
};

struct loop {
    struct loop_options options;
    struct mailbox mailbox;
    struct message stop;
    struct pulse pulse;
    struct loop_counters counters;
    struct tally queues; /* bytes that waited for a connection when it was its turn to send */
    pthread_t thread;
    bool running; /* the thread is to be joined */
    int epoll;
    bool stopping;
    int64_t grace_ms;
    int64_t stop_due, hurry_due; /* ms, while stopping; hurry_due 0: that is through */
    int64_t half_ms;             /* half a heartbeat */
    size_t parts_max;            /* bytes waiting for a connection that conn_send_part adds to */
    size_t parts_few;            /* without a look at what else there is */
    int64_t now;                 /* ms, at the start of the turn */
    int64_t slice_end;           /* ns; of the connection that is being heard */
    unsigned slice_messages;     /* that it has sent in it */
    unsigned next_event;         /* where to begin among those that are ready */
    int64_t next_tick;
    bool behind;        /* so much is posted that more is, or may be, while this turn works */
    int64_t told_ns;    /* when a turn began with something posted */
    unsigned sent_to;   /* so many connections */
    int64_t selfish_ns; /* until then nobody else is let in, for it took them long */
    int64_t join_ns;    /* from then on what is posted is taken in the middle of sending, too */
    int64_t wake_by;    /* ms; the owner wants a turn then */
    struct list idle, closing, draining; /* every living connection is in one, ordered by due */
    struct list dead;                    /* to be told to the owners */
    struct list told;                    /* to be freed */
    struct list dirty;                   /* something to send */
    struct list heavy;                   /* by heavy_since */
    struct list quiet;                   /* by quiet_due; with idle_ms alone */
    struct list rests;                   /* of connections that pause for a turn */
    struct list resting;                 /* of those that pause for longer, by due */
    struct list halves;                  /* by when the message began */
    size_t half_bytes;                   /* of them */
    uint32_t pongs;                      /* of all connections */
    struct outq_pool pool;
    struct deflater *deflater;
    struct inflater *inflater;
    struct tls_room *room; /* from the first connection with TLS on */
    char *in;              /* what was just received */
    char *out;             /* what is being sent */
};

/*
 * A text in compressed form: see framing.c. `deflated` is what framing_deflate made of it, or
 * found, and lasts until the next call; NULL: the message is to be sent as it is.
 */
struct body *framing_deflate(struct conn *c, const char *data, size_t len, struct body *body);
size_t framing_len(size_t len, const struct body *body, const struct body *deflated); /* at most */
int framing_put(struct conn *c, const char *data, size_t len, const struct body *body,
    struct body *deflated, bool news);

/*
 * However much arrives, others have their turn: a connection's messages may take so long before it
 * is theirs (the first few take what they take, since they may belong together), those of all
 * together so long before what is queued is sent.
 */
#define SLICE_NS 100000
#define SLICE_LEAST 4
#define TURN_NS 1000000

#define LOOP_IN_SIZE 65536
#define LOOP_OUT_SIZE (256 * 1024)
#define PARTS_SIZE (1024 * 1024)
#define RETRY_SIZE (128 * 1024) /* about what the socket takes at once */

/* A turn begins, whose mailbox has not been taken yet. */
void round_begin(struct loop *l, int64_t now_ns);
void round_sent(struct loop *l); /* to one more connection */
/* Sends for each connection of `dirty`; one that is added meanwhile waits for the next turn. */
void round_flush(struct loop *l);

static inline bool conn_is_stream(const struct conn *c)
{
    return c->ops->keep_alive;
}

/* The socket has taken all that was queued. */
static inline bool conn_all_sent(const struct conn *c)
{
    return !c->out.bytes && !(c->tls && tls_unsent(c->tls));
}

/* One writer, so no locked instruction is needed. */
static inline void loop_count(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, v + n, memory_order_relaxed);
}

/* Runs all messages that have been posted so far. */
void loop_run_mailbox(struct loop *l);

static inline void loop_largest(_Atomic uint64_t *counter, uint64_t n)
{
    if (n > atomic_load_explicit(counter, memory_order_relaxed))
        atomic_store_explicit(counter, n, memory_order_relaxed);
}

/* A text of so many bytes, not compressed, was queued. */
static inline void loop_count_sent(struct loop *l, size_t len)
{
    loop_count(&l->counters.messages_out, 1);
    loop_largest(&l->counters.largest_out, len);
}

/* Registers the socket and queues hello. NULL: no memory, or epoll refused; fd and tls (which may
 * be NULL) are still the caller's. */
struct conn *conn_new(struct loop *l, int fd, struct tls *tls, const struct conn_ops *ops,
    const void *hello, size_t hello_len);
void conn_free(struct conn *c);
/* Closes the socket now. The owner is told later in the turn, or in the next. */
void conn_end(struct conn *c);
/* Sends a Close frame, unless one was sent, and ends without waiting for the peer's. */
void conn_fail(struct conn *c, int code, const char *reason);
/* One that is closing is not to send more than its Close frame, and what has begun before it. */
void conn_hurry(struct conn *c, const char *reason);
void conn_finish(struct conn *c, int code); /* answers the peer's Close */
void conn_finish_silently(struct conn *c);  /* sends what is queued, and ends */
/* Queues a control frame, whatever the bound. STATUS_NOMEM. */
int conn_put_control(struct conn *c, enum ws_opcode opcode, const void *data, size_t len);
/* Its queue is longer than that bound, or has been for too long. */
void conn_slow(struct conn *c, size_t bound);
void conn_notes_sent(struct conn *c); /* tells those that wait for no more than was sent */
void conn_notes_lost(struct conn *c); /* tells all */
void conn_touch(struct conn *c);      /* it has something to send, or is to be looked at */

void half_note(struct conn *c); /* some of its bytes were parsed: gives up the oldest if need be */
void half_forget(struct conn *c); /* it has gone */

void conn_io_event(struct conn *c, uint32_t events); /* what epoll saw */
void conn_io_resume(struct rest *r);                 /* goes on with what was received */
void conn_io_forget(struct conn *c);                 /* and this does not */
void conn_io_flush(struct conn *c);                  /* sends what the socket takes */
/* Likewise, and nothing else: conn_touch has to follow, so that it is flushed as well. */
void conn_io_push(struct conn *c);

void heartbeat_start(struct conn *c);
void heartbeat_due(struct conn *c);
void heartbeat_quiet_due(struct conn *c);         /* is it idle? */
int64_t heartbeat_quiet_at(const struct conn *c); /* ms; when that is to be asked */
void heartbeat_arrived(struct conn *c);           /* some bytes came */
void heartbeat_sent(struct conn *c, size_t n);
void heartbeat_pong(struct conn *c, const char *data, size_t len);
void heartbeat_stop(struct conn *c); /* takes it out of the counters */

#endif
