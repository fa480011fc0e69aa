#ifndef ROWTAP_HUB_SESSION_H
#define ROWTAP_HUB_SESSION_H

#include "access/identity.h"
#include "access/limiter.h"
#include "access/policy.h"
#include "base/buf.h"
#include "hub/channel.h"
#include "hub/dialect.h"
#include "hub/subscription.h"
#include "net/conn.h"

/* One connection's state: who it is, what it hears, and how it executes commands. Loop thread only.
 */
struct shard;

/* What is under way, of which most sessions have nothing. */
struct session_work {
    struct list snapshots;  /* of struct snapshot */
    struct list replays;    /* of struct replay */
    struct list requests;   /* on their way: see hub/request.h */
    struct list queries;    /* of struct query, in hub/query.c */
    struct list broadcasts; /* its own that have not been acknowledged */
    uint32_t request_count, query_count, last_query;
};

struct session {
    /* What delivering to it takes is together, for there may be many to deliver to. */
    struct conn *conn;
    struct subscription *matches; /* the change being delivered */
    struct session *next_matched; /* likewise */
    struct shard *shard;
    const struct dialect *dialect;
    struct poll *poll; /* of a long poll: see hub/poll.h */
    /* What it gets together when the transaction is through; that may be in a later batch. */
    struct changeset *changeset;
    uint32_t login_place; /* of its token's end in the shard's logins, from 1; 0: none */
    uint8_t login_failures;
    uint8_t snapshot_count;
    bool login_warned : 1;
    bool notifications : 1;      /* in the channel everyone starts in */
    bool notifications_self : 1; /* false: leaves out what it itself sends there */
    bool slow : 1; /* hears nothing until it has read what is queued: see hub/slow.h */

    struct list node;              /* of its shard */
    struct policy *policy;         /* a reference; NULL: everybody may do everything */
    struct identity *who;          /* as its newest token said; NULL for nobody: see hub/login.h */
    struct limiter_client *limits; /* how much it may do; NULL: as much as it likes */
    struct subscription **subs;    /* by number, ascending */
    struct subscription *first;    /* where subs points to as long as there is no more than one */
    uint32_t sub_count, sub_cap;
    uint32_t batch_count; /* of them, those with `batch` */
    uint32_t last_number;
    uint32_t text_bytes; /* of all its subscriptions */
    uint32_t membership_count, membership_cap;
    struct membership **memberships;
    uint64_t replies;
    int64_t since_ms;          /* wall clock */
    int64_t opened_ns;         /* by the steady clock */
    struct session_work *work; /* empty, and not to be written to, until session_work */
    struct list drained;       /* of its shard once it has read what was queued */
    struct projection *whole;  /* how to write changes of tables themselves */
    struct presence *presence; /* while it is in channel "collaboration" */
    char *headers;             /* of a stream that has not been answered yet */
    char address[];            /* the peer's, for logs */
};

/* Bytes of filters and column names that one connection may have. */
#define SESSION_MAX_TEXT (4u << 20)
#define SESSIONS_MAX_TEXT ((size_t)256 << 20) /* and all together */

/* What hub_adopt sends along with a socket. Owned by the session once it is open. */
struct arrival {
    struct shard *shard;
    const struct dialect *dialect;
    struct identity *who; /* a reference */
    char *address;
    char *request; /* of a stream: its command and the headers of its response */
    char *headers;
    int window_bits; /* as in hub_client */
    struct limiter_client *limits;
};
void arrival_free(struct arrival *a); /* gives its reservation back */

/* The user, or NULL for nobody. */
static inline const char *session_user(const struct session *s)
{
    return identity_user(s->who);
}

/* Whether news may be sent to it. */
static inline bool session_hears(const struct session *s)
{
    return !s->slow && !conn_closing(s->conn);
}

extern const struct conn_ops session_ops;        /* of WebSockets */
extern const struct conn_ops session_stream_ops; /* of dialects with put_keep_alive */
/* A loop's `slow`: tells the client that it must resynchronise. */
void session_slow(void *owner, struct buf *last);

/* Before something is added to one of the lists of its work. STATUS_NOMEM. */
int session_work(struct session *s);
/*
 * Ends it for a reason: the reply is its last word, and nothing that waits for it is sent. A long
 * poll is answered with what it has, and a stream just ends: their clients come back.
 */
void session_end(struct session *s, struct reply *r, int code);
/* Memory ran out for this connection: closes it with 1011, for it must not go on with a gap. */
void session_fail(struct session *s);
/* A subscription no longer fits its table: tells the client why, and frees it. */
void session_end_subscription(
    struct subscription *sub, const char *table, const struct error_text *why);

/*
 * Each sends one message; a failure ends the connection, and so does an error on a stream. The
 * reply's head is filled in.
 */
void session_reply(struct session *s, struct reply *r);
void session_put_reply(struct session *s, struct buf *out, struct reply *r); /* only writes it */
void session_error(struct session *s, const struct command *cmd, const struct error_text *e);
/* Tells that changes were lost to one of the two (the other is NULL). */
void session_resync(struct session *s, const struct subscription *sub, const struct membership *m,
    const char *reason);
void session_refuse(struct session *s, const struct command *cmd, const char *code, const char *fmt,
    ...) __attribute__((format(printf, 4, 5)));

/*
 * Adds a subscription to `table` (NULL: every table) as last_number. STATUS_NOMEM, or else err says
 * what is wrong (err->code NULL: STATUS_TOO_LARGE, past what one subscription may hold).
 */
int session_subscribe(struct session *s, const struct command *cmd, const struct table *table,
    struct error_text *err);
/* The place in subs of the subscription with that number, or sub_count. */
uint32_t session_find(const struct session *s, uint32_t number);
void session_unsubscribe(struct session *s, uint32_t place);
/*
 * Removes the subscriptions that are wanted (NULL: all) and writes their numbers, which has room
 * for sub_count. Returns how many they were.
 */
size_t session_unsubscribe_if(struct session *s,
    bool (*wanted)(const struct subscription *sub, struct text table), struct text table,
    uint32_t *numbers);

/* The place of the session's membership of a channel, or membership_count. */
uint32_t session_membership(const struct session *s, struct text name);
bool session_in_tables(const struct session *s); /* it has joined the channel "tables" */
int session_join(struct session *s, const struct command *cmd); /* STATUS_NOMEM */
void session_leave(struct session *s, uint32_t place);

bool session_is_stream(const struct session *s);
const struct dialect *session_dialect(const struct session *s);

#endif
