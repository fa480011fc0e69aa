#ifndef ROWTAP_HTTP_REQUEST_H
#define ROWTAP_HTTP_REQUEST_H

#include "access/limiter.h"
#include "base/buf.h"
#include "base/tally.h"
#include "http/listen.h"
#include "http/workers.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SILENCE_MS 5000    /* for a request's head and for a pause in its body, unless set */
#define KEEP_ALIVE_MS 5000 /* for the next request on a kept connection */

struct database;
struct database_turn;
struct front;
struct hub;
struct identity;
struct policies;
struct policy;
struct swift;
struct tokens;
struct mg_connection;
struct mg_context;
struct mg_request_info;

/* What was answered, by any thread: for GET /metrics. */
#define REQUEST_STATUSES 500
struct request_stats {
    _Atomic uint64_t swift; /* of all, those that a thread for many connections has answered */
    _Atomic uint64_t by_status[REQUEST_STATUSES]; /* from 100 on */
    struct tally times;                           /* ns, from the head to the end of the answer */
};

/* The server's HTTP side. Constant after the start, but for what is marked. */
struct http {
    struct mg_context *ctx;
    struct database *db;
    struct hub *hub;
    struct tokens *tokens;     /* NULL: nobody has to show one */
    struct policies *policies; /* NULL: everybody may do everything */
    struct front *front;       /* NULL: without TLS */
    struct workers workers;
    struct listen_address *addresses;
    int *ports; /* of the addresses; with TLS civetweb's own one */
    char **urls;
    int address_count;
    char **origins;
    int origin_count;
    struct listen_names names;
    struct limiter *limiter; /* or NULL */
    struct network *proxies; /* that are believed */
    int proxy_count;
    size_t max_body;
    int64_t silence_ms; /* for the first request's head, and for a pause in a body */
    bool compress;      /* WebSocket clients may have permessage-deflate */
    atomic_bool stopping;
    struct swift *swift;        /* or NULL */
    struct request_stats stats; /* changes */
    struct buf *start_error;    /* while civetweb starts: what it says goes here */
};

/*
 * One request, on its worker's thread, from the parsed head to the answer. A handler sends exactly
 * one answer. Strings live as long as the request.
 */
struct request {
    struct http *http;
    struct mg_connection *conn;
    const struct mg_request_info *info;
    struct worker *worker;
    const char *method;
    const char *path;      /* undecoded, without the query string */
    const char *query;     /* or NULL; without the token: see http/auth.h */
    struct buf rest;       /* what query is then */
    struct buf token;      /* of the query string … */
    int token_count;       /* … which had so many */
    struct identity *who;  /* NULL: nobody, or not asked */
    struct policy *policy; /* a reference, once admitted; NULL: everybody may do everything */
    const char
        *origin;     /* a listed --origin that sent it: told that it may read the answer; or NULL */
    size_t head_len; /* bytes, with the empty line */
    int64_t content_length; /* 0 without a body */
    bool chunked;
    bool head;                   /* HEAD: the answer's body is left out */
    bool keep;                   /* the connection may serve another request */
    bool body_read;              /* up to its end */
    int fd;                      /* see request_socket; -1: not asked for yet */
    bool repeatable;             /* the same head may come again: see http/again.h … */
    bool waits;                  /* … whose wait the socket is set up for, until request_unwait */
    const char *given;           /* the body, where it has been read along; or NULL */
    struct database_turn *swift; /* on a thread that must not wait: see http/swift.h … */
    bool put_off;                /* … where nothing has been done, so its worker is to serve it */
    bool weighed;                /* put off: the limits know it already */
    bool was_swift;              /* it could have been served there */
    struct buf unsent;           /* the answer, or what is left of it for the worker to send */
    int status;                  /* of the answer */
    int64_t began_ns;
    struct limiter_client limits; /* how much it may do; ended by limits_end */
    char client[64];              /* the address that it comes from … */
    bool forwarded;               /* … as a proxy said */
    int64_t retry_ms;             /* of an error RATE_LIMITED, or 0 */
    const char *code;             /* of an error that was answered, or NULL … */
    char why[128];                /* … and its message, cut */
};

/* Reads the head; false: it was malformed and has been answered. */
bool request_init(struct request *r, struct http *h, struct mg_connection *conn);
/*
 * The next request of the connection, which has the same head: of head_len bytes with another
 * length, and this body, which stays the caller's.
 */
void request_repeat(struct request *r, size_t head_len, const char *body, size_t len);
/*
 * civetweb reads without waiting in the kernel. Between these two a recv does wait, up to
 * KEEP_ALIVE_MS, and nothing of civetweb's may be called but by request_write. False: the kernel
 * refuses.
 */
bool request_wait(struct request *r);
void request_unwait(struct request *r);
/* The first header of that name, or NULL. */
const char *request_header(const struct request *r, const char *name);
int request_header_count(const struct request *r, const char *name);
/* An Accept header names this type itself ("*" is not enough), and not with q=0. */
bool request_accepts(const struct request *r, const char *type);
/* A comma-separated header contains that token, in any case, on any of its lines. */
bool request_header_has(const struct request *r, const char *name, const char *token);

/* The connection's descriptor, or -1 where it cannot be told. */
int request_socket(struct request *r);
/* Nothing has been taken from the connection that came behind the head. */
bool request_alone(struct request *r);
/* Reads the whole body. False: it was too large, late or broken, and has been answered. */
bool request_body(struct request *r, struct buf *body);
/* After the answer: lets a client that is still sending its body read the answer first. */
void request_finish(struct request *r);
void request_linger(const struct peer *peer); /* the same for what was no request */
/* Answers came in, or a wait is over: false when the connection is gone. */
bool request_write(struct request *r, const void *data, size_t len);
/* Of r->unsent, as much as the socket takes now. Whether that was all; or the connection is gone.
 */
bool request_send_left(struct request *r);
void request_close_after(struct request *r); /* no further request on this connection */

#endif
