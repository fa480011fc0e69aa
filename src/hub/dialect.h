#ifndef ROWTAP_HUB_DIALECT_H
#define ROWTAP_HUB_DIALECT_H

#include "base/buf.h"
#include "change/batch.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the hub asks of a wire format. A dialect is a pure codec: bytes to a struct command, a
 * struct reply or a change to bytes. It keeps no state and does no I/O, so any thread may call it.
 * The hub declares the table here; src/dialect implements one per format.
 */
struct sql_request; /* capture/database.h */
struct sql_error;
struct sync; /* hub/sync.h */

enum command_type {
    COMMAND_SUBSCRIBE,
    COMMAND_UNSUBSCRIBE,
    COMMAND_PING,
    COMMAND_HEARTBEAT,
    COMMAND_SQL,
    COMMAND_SYNC,
    COMMAND_REPORT,
    COMMAND_QUERY_START,
    COMMAND_QUERY_CANCEL,
    COMMAND_BROADCAST,
    COMMAND_CURSOR,
    COMMAND_AUTH,
};

/* What the server can tell about itself: see hub/report.h. */
enum report {
    REPORT_HEALTH,
    REPORT_WEBSOCKET_HEALTH,
    REPORT_STATUS,
    REPORT_STATS,
    REPORT_REALTIME,
    REPORT_TABLES,
    REPORT_TABLE, /* the command's table */
};

enum since { SINCE_NOW, SINCE_SEQ, SINCE_EARLIEST };

/* Bits of a subscription's events: 1 << CHANGE_INSERT and so on. */
#define EVENTS_ALL (1u << CHANGE_INSERT | 1u << CHANGE_UPDATE | 1u << CHANGE_DELETE)

/* The error codes of the protocol. */
#define ERROR_INVALID_FORMAT "INVALID_FORMAT"
#define ERROR_UNKNOWN_TYPE "UNKNOWN_TYPE"
#define ERROR_NOT_FOUND "NOT_FOUND"
#define ERROR_RATE_LIMITED "RATE_LIMITED"
#define ERROR_INVALID_FILTER "INVALID_FILTER"
#define ERROR_CONFLICT "CONFLICT"
#define ERROR_UNAUTHORIZED "UNAUTHORIZED"
#define ERROR_FORBIDDEN "FORBIDDEN"
#define ERROR_TOO_LARGE "TOO_LARGE"
#define ERROR_LIMIT_EXCEEDED "LIMIT_EXCEEDED"
#define ERROR_QUERY_CANCELLED "QUERY_CANCELLED"

struct error_text {
    const char *code;  /* one of the above; NULL: no error */
    bool busy;         /* the same may work in a moment */
    int64_t retry_ms;  /* RATE_LIMITED: not earlier than in so many ms; otherwise 0 */
    char message[512]; /* a sentence for the user; cut, so it may end inside a UTF-8 character */
};

/* A piece of text inside the command; p is NULL when the client did not send it. */
struct text {
    const char *p;
    size_t len;
};

/*
 * One decoded request. All texts stay valid until the dialect's command_fini. What a dialect could
 * not read is in `error`, with request_id set if that much could be read.
 */
struct command {
    enum command_type type;
    struct text request_id; /* as the dialect writes it back; opaque to the hub */
    struct text table;      /* "*": every table */
    struct text channel;
    struct text subscription; /* the id, as given out in a reply */
    struct text sent_at;      /* opaque, as request_id */
    enum since since;         /* the past that is wanted first */
    uint64_t since_seq;       /* SINCE_SEQ: what came after this */
    struct text epoch;        /* the numbering that since_seq belongs to; none given: the present */
    uint32_t events;          /* of EVENTS_ALL */
    bool has_filter;          /* a filter was given, be it an empty list */
    bool has_columns;
    int filter_count, column_count;
    const char *const *filters;
    const size_t *filter_lens;
    const char *const *columns;
    const size_t *column_lens;
    struct text event; /* BROADCAST: what its sender calls it */
    struct text data;  /* BROADCAST: what is passed on; CURSOR: where it is, or none; JSON */
    bool self;         /* false: leave out what this connection itself writes or sends */
    bool batch;        /* one message for all changes of a transaction */
    bool snapshot;     /* first the rows that there are; the table is one */
    enum report report;
    uint32_t report_limit;   /* clients listed in REPORT_STATS */
    struct sql_request *sql; /* SQL, QUERY_START: what it holds is the hub's to take */
    struct sync *sync;       /* SYNC: likewise; its texts are the dialect's */
    /* Of a long poll: changes of one answer, and how long it may wait for the first. */
    uint32_t limit;
    int64_t wait_ms;
    struct text query_id; /* opaque, as request_id */
    struct text token;    /* AUTH */
    struct error_text error;
    void *memory; /* the dialect's */
};

enum reply_type {
    REPLY_ACK, /* first message of a connection */
    REPLY_SUBSCRIBED,
    REPLY_UNSUBSCRIBED,
    REPLY_PONG,
    REPLY_HEARTBEAT,
    REPLY_ERROR,
    /* Changes were lost, or are about to be: to one subscription or channel, or all of them. */
    REPLY_RESYNC,
    REPLY_SNAPSHOT,      /* some rows of one subscription's snapshot */
    REPLY_CHANGES,       /* a long poll's answer */
    REPLY_RESULT,        /* to SQL, SYNC and REPORT */
    REPLY_QUERY_STARTED, /* these five have a query_report */
    REPLY_QUERY_PROGRESS,
    REPLY_QUERY_ROWS,
    REPLY_QUERY_COMPLETE,
    REPLY_QUERY_ERROR,
    REPLY_BROADCAST,     /* what somebody sends to a channel */
    REPLY_BROADCAST_ACK, /* to that somebody */
    REPLY_USER_JOINED,   /* these three are about users in channel "collaboration" */
    REPLY_USER_LEFT,
    REPLY_USER_CURSOR,
    REPLY_AUTH,     /* whether a token was taken; code and message where it was not */
    REPLY_EXPIRING, /* a token ends soon */
};

/*
 * How a query stands: to its client, or (reply.channel is "queries") to whoever listens there, with
 * whose it is and what its text is like, but no rows and no error's message.
 */
struct query_report {
    struct text id; /* as the command had it, or JSON text */
    uint64_t row_count;
    int64_t elapsed_ns;
    int percent;                 /* PROGRESS; -1: not known */
    uint64_t page;               /* ROWS: counts them from 0 */
    struct text columns;         /* ROWS, COMPLETE: a JSON list */
    struct text rows;            /* the members of one */
    bool results;                /* COMPLETE: columns and rows are the whole result */
    int64_t changes, last_rowid; /* COMPLETE */
    uint64_t seq;                /* COMPLETE: of the last change it made, or saw */
    const struct sql_error *error;
    uint64_t connection; /* in the channel: whose it is */
    struct text user, sql;
};

/* One connection of a user in channel "collaboration". */
struct present {
    struct text user;
    uint64_t connection;
    bool same_user;       /* as the one before */
    struct text position; /* of its cursor: a JSON object; or none */
};

/* One answer or notice to one connection. NULL and 0 members are left out, but for those of the
 * type. */
struct reply {
    enum reply_type type;
    /* The connection's id. What goes to many is named by that of its sender; 0: the HTTP API. */
    uint64_t connection;
    uint64_t number; /* counts the connection's replies: names the message together with the id */
    int64_t time_ms; /* wall clock */
    struct text request_id;
    struct text sent_at;
    struct text table;
    struct text channel;
    const uint32_t *subscriptions; /* numbers: 1 is "s1" */
    size_t subscription_count;
    bool all; /* UNSUBSCRIBED: the subscriptions are a list, not the one asked for */
    /*
     * ACK, RESYNC: the last change before it. SUBSCRIBED: every later change follows; with
     * `recovered` that may lie in the past. SNAPSHOT: the last change that the rows show.
     */
    uint64_t seq;
    bool resumed;                /* SUBSCRIBED: the past was asked for */
    bool recovered;              /* SUBSCRIBED, resumed: and it follows */
    struct text rows;            /* SNAPSHOT: as put_row wrote them; CHANGES: as put_item did */
    bool last;                   /* SNAPSHOT: no more rows follow */
    bool resumable;              /* who has got this message may go on after … */
    uint64_t position;           /* … this change */
    const char *code, *message;  /* ERROR */
    bool busy;                   /* ERROR: the same may work in a moment */
    int64_t retry_ms;            /* ERROR: and not earlier than that; or 0 */
    const struct sql_error *sql; /* ERROR: of SQL; or NULL */
    bool operation;              /* and its statement is the index of a SYNC's operation */
    struct text result;          /* RESULT: a JSON object */
    const char *reason;          /* RESYNC */
    struct text query_id;        /* ERROR: the query that the command named */
    const struct query_report *query;
    const char *user_id; /* ACK, AUTH; NULL for nobody */
    const char *role;    /* AUTH; NULL for none */
    int64_t expires_ms;  /* AUTH, EXPIRING: when the token ends, wall clock; 0: never */
    const char *version; /* ACK */
    const char *epoch;
    int64_t heartbeat_ms; /* ACK */
    size_t max_message;   /* ACK; bytes */
    bool notifications;   /* ACK: it is in that channel */
    /* The first on a stream: lines for the head of the HTTP response that it begins, or "". */
    const char *headers;
    /* BROADCAST */
    struct text event;
    struct text data;   /* JSON; USER_CURSOR: its position, or none */
    uint64_t delivered; /* BROADCAST_ACK: connections that it was queued for */
    /*
     * Who a message of "collaboration" is about, or who sent the BROADCAST (none: nobody known);
     * and SUBSCRIBED to that channel: as whom.
     */
    struct text user;
    /* All that are there, the connections of one user side by side; or NULL: too many to list. */
    const struct present *present;
    size_t present_count;
    size_t user_count;
};

enum transition { TRANSITION_NONE, TRANSITION_ENTER, TRANSITION_LEAVE };

/* One change (a row's or a table's) as it is shared by all its receivers. */
struct change_message {
    const char *epoch;
    const struct transaction *transaction;
    const struct change *change;
    const uint64_t *columns; /* a bit set over column indexes, 64 a word; NULL: all */
    struct receipt *receipt; /* the hub's: the author waits for it to be sent; or NULL */
};

/* A change's message is its private prefix followed by its shared body. */
struct change_prefix {
    const uint32_t *subscriptions; /* numbers, ascending; none for a channel's message */
    size_t subscription_count;
    enum transition transition;
};

/*
 * The changes of one transaction for one connection that asked for them together. Past a bound they
 * come in several messages, all but the last with `more`.
 */
struct batch_message {
    const char *epoch;
    const struct transaction *transaction;
    uint64_t seq;      /* of the last change in it */
    const char *table; /* of all of them, or NULL */
    const char *items; /* as put_item wrote them */
    size_t items_len;
    bool more;
};

/*
 * Most dialects are spoken over WebSockets. One with put_keep_alive is a stream instead: the one
 * command is what the client connected with, its reply begins the HTTP response, an error ends it.
 *
 * A stream with `once` is a long poll: nothing is sent but one whole HTTP response, REPLY_CHANGES
 * or REPLY_ERROR. For it put_reply adds a REPLY_RESYNC to those in `out`, as put_item does a
 * change.
 */
struct dialect {
    const char *name;
    bool once;
    /*
     * Fills *cmd, whatever comes (cmd->error says what was wrong with it). STATUS_NOMEM: nothing
     * more can be said. command_fini is due in every case.
     */
    int (*decode)(struct command *cmd, const char *data, size_t len);
    void (*command_fini)(struct command *cmd);
    /* These append to out, whose sticky error the caller checks. */
    void (*put_reply)(struct buf *out, const struct reply *r);
    void (*put_body)(struct buf *out, const struct change_message *m);
    void (*put_prefix)(struct buf *out, const struct change_prefix *p);
    /* Adds one change to those in `items`, from its prefix and its body as written above. */
    void (*put_item)(
        struct buf *items, const struct change_prefix *p, const char *body, size_t body_len);
    void (*put_batch)(struct buf *out, const struct batch_message *m);
    /* Adds one row of a snapshot (the change is its insertion) to those in `rows`. */
    void (*put_row)(struct buf *rows, const struct change_message *m);
    /*
     * What says that the connection lives, or NULL. With an epoch, who has got it may go on after
     * seq.
     */
    void (*put_keep_alive)(struct buf *out, const char *epoch, uint64_t seq);
};

#endif
