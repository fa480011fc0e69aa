#ifndef ROWTAP_NET_CONN_H
#define ROWTAP_NET_CONN_H

#include "base/list.h"
#include "net/ws.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One client's connection after the upgrade. It lives on one loop for its whole life and only that
 * loop's thread touches it. An idle connection holds no buffers.
 *
 * It is a WebSocket or, where conn_ops has `keep_alive`, a plain stream of bytes to the client:
 * then a message has no frame around it, closing sends nothing of its own, and close codes are only
 * what `closed` is told.
 */
struct loop;
struct conn;

/*
 * Bytes made once and sent to many: a message without its private prefix. Counted by references, on
 * one loop (not atomic): every loop makes its own.
 */
#define BODY_FORMS 2
struct body {
    uint32_t refs;
    uint32_t len;
    uint32_t number; /* one more than of the one made before for parts; 0: it is for no parts */
    struct body *deflated[BODY_FORMS]; /* NULL: not made yet; itself: it does not shrink */
    char data[];
};
struct body *body_new(const void *data, size_t len); /* copies; one reference; NULL: no memory */
struct body *body_new_empty(size_t len);             /* the same for the caller to fill in */
void body_ref(struct body *b);
void body_unref(struct body *b); /* NULL is allowed */

/* What the layer above does with a connection. All on the loop's thread. */
struct conn_ops {
    /*
     * The connection is on its loop; the handshake's answer is queued in front of whatever is sent
     * now. Returns the owner's object or NULL: the connection is closed (with 1011,
     * unless open closed it otherwise) and nothing more is called.
     */
    void *(*open)(struct conn *c, void *start_ctx);
    /*
     * A whole message; data is valid during the call. After anything but 0 no further message is
     * passed on; the connection is closed with 1011 unless the owner has begun to close it.
     */
    int (*message)(void *owner, enum ws_opcode opcode, const char *data, size_t len);
    /*
     * The connection has ended; the last call, never made from within conn_send or conn_close.
     * start_ctx was consumed by open. `code` is the close code seen or sent (1005: the peer's Close
     * had none), 1006 when the peer just went.
     */
    void (*closed)(void *owner, int code);
    /* The connection never came to open (no memory, shutting down): frees start_ctx. */
    void (*refused)(void *start_ctx);
    /*
     * Less is queued than conn_want_drained asked for. Once per such call; also from within
     * conn_send, so nothing may be sent here. May be NULL if that is never called.
     */
    void (*drained)(void *owner);
    /*
     * The connection was too slow, so the news that were queued have been forgotten (what has begun
     * is finished). The owner sends no more until `drained`, which follows when all else is sent.
     * From within conn_send too, so nothing may be sent here. NULL: it is closed instead.
     */
    void (*forgotten)(void *owner);
    /*
     * NULL: a WebSocket. Otherwise a plain stream: what arrives is thrown away, its end ends the
     * connection, and instead of a ping this appends what to send every heartbeat. A peer that has
     * not taken that by the next one, and nothing before it either, is given up. It may append
     * nothing. Nothing else may be sent here.
     */
    void (*keep_alive)(void *owner, struct buf *out);
    /* The loop ends, and is about to close the connection: a last word may be sent. May be NULL. */
    void (*stopping)(void *owner);
};

/*
 * Queues a message, which is prefix + body (body may be NULL, prefix_len may be 0): a text frame.
 * The prefix is copied, the body shared. The loop sends at the end of its turn; only when a lot is
 * queued (256 KB, or the bound) is the socket offered it at once. When the queue would pass its
 * bound even so, the connection is slow: it is closed with 1013 instead, or its news are forgotten
 * (see loop_options.forget). 0, STATUS_CLOSED, STATUS_TOO_LARGE (it was slow; nothing was queued)
 * or STATUS_NOMEM (closed with 1011).
 */
int conn_send(struct conn *c, const char *prefix, size_t prefix_len, struct body *body);
/*
 * The same for `count` messages whose frames, with headers by ws_header before at most `payload`
 * bytes, are body->data[from … from + size - 1]: what many get is put together only once, turn by
 * turn. False: nothing was done, and each is to be sent in the other way, because the connection
 * has much to read already, wants it compressed, is a stream or is closing.
 */
bool conn_send_part(struct conn *c, struct body *body, uint32_t from, uint32_t size,
    uint32_t payload, uint32_t count);    /* a body with a number */
void conn_prefetch(const struct conn *c); /* conn_send_part comes soon */
/* The same for what is not news: it is never forgotten, and takes the place of news if need be. */
int conn_send_text(struct conn *c, const char *data, size_t len);

/*
 * Starts the closing handshake: what is queued is still sent, then the Close frame; the connection
 * ends when the peer answers or after a few seconds. Nothing can be queued afterwards.
 */
void conn_close(struct conn *c, int code, const char *reason);
/*
 * The same, but forgets what is queued (a frame already begun is finished first); `last` (may be
 * NULL) is sent as a last text message before the Close frame.
 */
void conn_close_now(
    struct conn *c, int code, const char *reason, const char *last, size_t last_len);

/*
 * Waits until all that is queued now has been sent: done(n, true), perhaps at once. Or the
 * connection ends, or news of it are forgotten first: done(n, false). The owner's until then, the
 * loop's thread; nothing may be sent from within done.
 */
struct conn_note {
    struct list node;
    uint64_t at; /* of all bytes ever queued on the connection */
    void (*done)(struct conn_note *n, bool sent);
};
void conn_note(struct conn *c, struct conn_note *n);
/* The note of the connection that was made last and still waits, or NULL: to be moved on. */
struct conn_note *conn_last_note(const struct conn *c);
void conn_move_note(struct conn *c, struct conn_note *n); /* to all that is queued now */

/*
 * The handshake agreed on permessage-deflate, with no takeover of context on either side. Messages
 * for a window of that many bits (8 to 15) may be compressed, those of the peer may be as well. In
 * `open`, and only with loop_options.compress.
 */
void conn_compress(struct conn *c, int window_bits);

/* The message that is being handled was of no use: more like it are heard later, as pings are. */
void conn_wasted(struct conn *c);
uint64_t conn_id(const struct conn *c);     /* unique in the process, never 0 */
const char *conn_tls(const struct conn *c); /* "TLSv1.3", or NULL without TLS */
size_t conn_queued(const struct conn *c);   /* bytes waiting to be sent */
/* Calls `drained` as soon as sending has left less than this queued, which is not so yet. */
void conn_want_drained(struct conn *c, size_t below);
bool conn_closing(const struct conn *c);
uint64_t conn_messages(const struct conn *c); /* that came from the peer */
bool conn_answers(const struct conn *c);      /* no ping has been unanswered for half a heartbeat */

#endif
