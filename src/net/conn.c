#include "base/mem.h"
#include "base/status.h"
#include "net/private.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSING_MS 3000 /* for what is queued, our Close frame and the peer's */
#define FLUSH_AT LOOP_OUT_SIZE
#define BODIES_MAX 32 /* that the parts may lie in which wait for a connection */
/*
 * What waits belongs to the queue, which has bounds and shares its bodies. Without this the kernel
 * takes megabytes for each peer that does not read, of memory that all sockets of the machine
 * share, and while it copies them the others wait.
 */
#define UNSENT_MAX (128 << 10)
#define SHARE_MIN ((size_t)64 << 10)

static atomic_uint_fast64_t last_id;

/*
 * A stream's peer sends nothing, so only unacknowledged bytes tell that it has gone. The time
 * covers a window kept shut, too; heartbeat_due is to notice that first.
 */
static void set_patience(struct conn *c)
{
    unsigned ms = c->loop->half_ms < INT32_MAX / 6 ? (unsigned)(6 * c->loop->half_ms) : INT32_MAX;

    if (conn_is_stream(c) && ms)
        setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

static int start(struct conn *c, const void *hello, size_t hello_len)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    int one = 1, unsent = UNSENT_MAX;

    if (hello_len && outq_put(&c->out, &c->loop->pool, hello, hello_len, NULL, 0, NULL, false))
        return STATUS_NOMEM;
    /* The handshake's answer may never be left out, so it counts as begun. */
    c->out.begun = hello_len > 0;
    c->events = e.events;
    fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* in vain on a local socket */
    set_patience(c);
    if (epoll_ctl(c->loop->epoll, EPOLL_CTL_ADD, c->fd, &e) == 0)
        return 0;
    outq_clear(&c->out, &c->loop->pool);
    return STATUS_IO;
}

struct conn *conn_new(struct loop *l, int fd, struct tls *tls, const struct conn_ops *ops,
    const void *hello, size_t hello_len)
{
    struct conn *c = mem_zalloc(sizeof(*c));

    if (tls && !l->room)
        l->room = tls_room_new();
    if (!c || (tls && !l->room)) {
        mem_free(c);
        return NULL;
    }
    c->loop = l;
    c->fd = fd;
    c->tls = tls;
    c->ops = ops;
    c->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
    c->latency_us = -1;
    list_init(&c->timer);
    list_init(&c->dirty);
    list_init(&c->heavy);
    list_init(&c->quiet);
    list_init(&c->notes);
    outq_init(&c->out);
    ws_parser_init(&c->parser, false, l->options.max_message);
    c->parser.bounded = true;
    if (start(c, hello, hello_len)) {
        mem_free(c);
        return NULL;
    }
    heartbeat_start(c);
    conn_touch(c);
    loop_count(&l->counters.accepted, 1);
    if (tls)
        loop_count(&l->counters.tls, 1);
    loop_count(&l->counters.connections, 1);
    return c;
}

void conn_free(struct conn *c)
{
    list_del(&c->timer);
    ws_parser_fini(&c->parser);
    mem_free(c);
}

void conn_end(struct conn *c)
{
    struct loop *l = c->loop;

    if (c->state == CONN_DEAD)
        return;
    c->state = CONN_DEAD;
    if (c->window_bits)
        loop_count(&l->counters.deflating, -(uint64_t)1);
    /* Not left to close(): another descriptor of the same socket would keep the events coming. */
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, c->fd, NULL);
    if (c->tls)
        loop_count(&l->counters.tls, -(uint64_t)1);
    tls_free(c->tls);
    c->tls = NULL;
    close(c->fd);
    outq_clear(&c->out, &l->pool);
    conn_notes_lost(c);
    body_unref(c->late_pong);
    c->late_pong = NULL;
    conn_io_forget(c);
    half_forget(c);
    c->loop->pongs -= c->pongs;
    c->pongs = 0;
    heartbeat_stop(c);
    list_del(&c->dirty);
    list_del(&c->heavy);
    list_del(&c->quiet);
    list_del(&c->timer);
    list_add_tail(&l->dead, &c->timer);
    loop_count(&l->counters.closed, 1);
    loop_count(&l->counters.connections, -(uint64_t)1);
}

void conn_touch(struct conn *c)
{
    if (!c->blocked && c->state != CONN_DEAD && list_empty(&c->dirty))
        list_add_tail(&c->loop->dirty, &c->dirty);
}

int conn_put_control(struct conn *c, enum ws_opcode opcode, const void *data, size_t len)
{
    uint8_t head[WS_HEADER_MAX];
    size_t n = ws_header(head, opcode, len);
    int rc = outq_put(&c->out, &c->loop->pool, head, n, data, len, NULL, false);

    conn_touch(c);
    return rc;
}

/* From OPEN to one of the states in which only the queue is sent, and that for a while only. */
static void move(struct conn *c, enum conn_state state)
{
    c->state = (uint8_t)state;
    list_del(&c->heavy);
    list_del(&c->quiet);
    conn_touch(c);
    list_del(&c->timer);
    c->due = c->loop->now + CLOSING_MS;
    list_add_tail(&c->loop->closing, &c->timer);
}

/* Leaves OPEN: queues the Close frame. A stream ends without one, as does what has no memory. */
static void leave_open(struct conn *c, enum conn_state state, int code, const char *reason)
{
    uint8_t payload[125];
    size_t len = ws_close_payload(payload, code, reason);

    c->code = (uint16_t)code;
    move(c, state);
    if (conn_is_stream(c) || conn_put_control(c, WS_CLOSE, payload, len))
        c->state = CONN_FINISHING;
}

/* In CLOSING our Close frame is on its way already; the deadline stays. */
static void finish(struct conn *c, int code, const char *reason)
{
    if (c->state == CONN_OPEN)
        leave_open(c, CONN_FINISHING, code, reason);
    else if (c->state == CONN_CLOSING)
        c->state = CONN_FINISHING;
    conn_touch(c);
}

void conn_finish_silently(struct conn *c)
{
    if (c->state == CONN_OPEN)
        move(c, CONN_FINISHING);
    else if (c->state == CONN_CLOSING)
        c->state = CONN_FINISHING;
}

void conn_fail(struct conn *c, int code, const char *reason)
{
    finish(c, code, reason);
}

/* Longer than a Close frame: before it there is something else in the queue. */
#define CLOSE_MAX (WS_HEADER_MAX + 125)

void conn_hurry(struct conn *c, const char *reason)
{
    uint8_t payload[125];

    if (c->out.bytes <= CLOSE_MAX)
        return;
    outq_drop(&c->out, &c->loop->pool);
    if (!conn_is_stream(c))
        conn_put_control(c, WS_CLOSE, payload, ws_close_payload(payload, c->code, reason));
    conn_touch(c);
}

void conn_finish(struct conn *c, int code)
{
    finish(c, code, NULL);
}

void conn_close(struct conn *c, int code, const char *reason)
{
    if (c->state == CONN_OPEN)
        leave_open(c, CONN_CLOSING, code, reason);
}

static inline int put_text(
    struct conn *c, const char *data, size_t len, struct body *body, bool news)
{
    uint8_t head[WS_HEADER_MAX];
    size_t payload = len + (body ? body->len : 0);
    size_t n = conn_is_stream(c) ? 0 : ws_header(head, WS_TEXT, payload);
    int rc = outq_put(&c->out, &c->loop->pool, head, n, data, len, body, news);

    if (rc == 0)
        loop_count_sent(c->loop, payload);
    return rc;
}

void conn_close_now(struct conn *c, int code, const char *reason, const char *last, size_t last_len)
{
    if (c->state != CONN_OPEN)
        return;
    outq_drop(&c->out, &c->loop->pool);
    conn_notes_lost(c);
    if (last)
        put_text(c, last, last_len, NULL, false);
    leave_open(c, CONN_CLOSING, code, reason);
}

/* Closes it with a last word from its owner. */
static void close_slow(struct conn *c, size_t bound)
{
    struct loop *l = c->loop;
    char reason[100];
    struct buf last;

    buf_init(&last, 0);
    loop_count(&l->counters.slow_closed, 1);
    snprintf(reason, sizeof(reason), "reading too slowly: more than %zu bytes were waiting", bound);
    c->state = CONN_CLOSING; /* so that the callback cannot queue anything */
    if (l->options.slow && c->owner)
        l->options.slow(c->owner, &last);
    c->state = CONN_OPEN;
    conn_close_now(c, WS_CLOSE_TRY_LATER, reason, buf_error(&last) ? NULL : last.data, last.len);
    buf_fini(&last);
}

/* Forgets the news that are queued, and tells the owner, who queues none until all is sent. */
static bool forget_news(struct conn *c)
{
    struct loop *l = c->loop;

    if (!c->ops->forgotten || !c->owner || c->forgot)
        return false;
    outq_forget(&c->out, &l->pool);
    conn_notes_lost(c);
    if (c->ping_ahead > c->out.bytes)
        c->ping_ahead = c->out.bytes;
    loop_count(&l->counters.slow_forgotten, 1);
    list_del(&c->heavy);
    c->forgot = true;
    c->drained_below = 1;
    conn_touch(c);
    c->ops->forgotten(c->owner);
    return true;
}

void conn_slow(struct conn *c, size_t bound)
{
    if (c->state == CONN_OPEN && !(c->loop->options.forget && forget_news(c)))
        close_slow(c, bound);
}

/* What may wait for one connection; less when all together have much. */
static size_t bound_of(const struct conn *c)
{
    const struct loop *l = c->loop;
    size_t max = l->options.max_queue, share;

    if (!l->options.max_queues || l->pool.own <= l->options.max_queues)
        return max;
    share = l->options.max_queues / (atomic_load(&l->counters.connections) + 1);
    if (share < SHARE_MIN)
        share = SHARE_MIN;
    return share < max ? share : max;
}

static bool fits(const struct conn *c, size_t len)
{
    size_t max = bound_of(c);

    return c->out.bytes <= max && len <= max - c->out.bytes;
}

/*
 * Whether it is time to send, in the middle of a turn: a large transaction must not cost a peer
 * that keeps up its connection, nor let it wait until there is no room any more.
 */
static bool has_much(const struct conn *c, size_t len)
{
    return c->out.bytes + len > (c->blocked ? c->retry_at : FLUSH_AT);
}

/* Makes room for len bytes, if it costs the queued news or the connection. */
static int make_room(struct conn *c, size_t len, bool news)
{
    if (!fits(c, len) || has_much(c, len))
        conn_io_flush(c);
    if (c->state != CONN_OPEN)
        return STATUS_CLOSED;
    if (fits(c, len))
        return 0;
    conn_slow(c, bound_of(c));
    if (!news && c->state == CONN_OPEN && !fits(c, len))
        close_slow(c, bound_of(c));
    return news || c->state != CONN_OPEN ? STATUS_TOO_LARGE : 0;
}

static int send_text(
    struct conn *c, const char *prefix, size_t prefix_len, struct body *body, bool news)
{
    size_t soft = c->loop->options.slow_queue;
    struct body *deflated = NULL;
    size_t len = prefix_len + (body ? body->len : 0) + WS_HEADER_MAX;
    int rc;

    if (c->state != CONN_OPEN)
        return STATUS_CLOSED;
    if (c->window_bits && (deflated = framing_deflate(c, prefix, prefix_len, body)))
        len = framing_len(prefix_len, body, deflated);
    rc = make_room(c, len, news);
    if (rc < 0)
        return rc;
    rc = deflated ? framing_put(c, prefix, prefix_len, body, deflated, news)
                  : put_text(c, prefix, prefix_len, body, news);
    if (rc) {
        conn_close_now(c, WS_CLOSE_INTERNAL, "out of memory", NULL, 0);
        return STATUS_NOMEM;
    }
    c->active_ms = (uint32_t)c->loop->now;
    if (soft && c->out.bytes > soft && list_empty(&c->heavy)) {
        c->heavy_since = (uint32_t)c->loop->now;
        list_add_tail(&c->loop->heavy, &c->heavy);
    }
    conn_touch(c);
    return 0;
}

int conn_send(struct conn *c, const char *prefix, size_t prefix_len, struct body *body)
{
    return send_text(c, prefix, prefix_len, body, true);
}

int conn_send_text(struct conn *c, const char *data, size_t len)
{
    return send_text(c, data, len, NULL, false);
}

void conn_prefetch(const struct conn *c)
{
    __builtin_prefetch(c, 1);
    __builtin_prefetch((const char *)c + 64, 1);
}

/*
 * Who does not read keeps the bodies that its parts are in, and with them what others got
 * meanwhile; so it may have parts of a few only. What was sent at once in large pieces is not for
 * the socket to take in one, though, and then reading has not even begun.
 */
static bool lags(const struct conn *c, const struct body *body)
{
    const struct body *first = outq_first_body(&c->out);

    return first && (first->number == 0 || body->number - first->number >= BODIES_MAX);
}

/* Whether a part may be added to a queue that is long, or whose socket is full. */
__attribute__((noinline)) static bool has_room(
    struct conn *c, const struct body *body, uint32_t size)
{
    if (has_much(c, size)) {
        conn_io_push(c);
        conn_touch(c);
    }
    return c->state == CONN_OPEN && c->out.bytes + size <= c->loop->parts_max &&
           !(c->blocked && lags(c, body));
}

bool conn_send_part(struct conn *c, struct body *body, uint32_t from, uint32_t size,
    uint32_t payload, uint32_t count)
{
    struct loop *l = c->loop;

    if (c->state != CONN_OPEN || conn_is_stream(c) ||
        (c->window_bits && payload >= l->options.compress_min) ||
        (l->options.max_queues && l->pool.own > l->options.max_queues))
        return false;
    if ((c->blocked || c->out.bytes + size > l->parts_few) && !has_room(c, body, size))
        return false;
    if (outq_put_part(&c->out, &l->pool, body, from, size) < 0)
        return false;
    loop_count(&l->counters.messages_out, count);
    loop_largest(&l->counters.largest_out, payload);
    c->active_ms = (uint32_t)l->now;
    conn_touch(c);
    return true;
}

#define WASTED (10 * WS_IDLE_CONTROL)

void conn_wasted(struct conn *c)
{
    c->parser.idle += WASTED;
}

uint64_t conn_id(const struct conn *c)
{
    return c->id;
}

const char *conn_tls(const struct conn *c)
{
    return c->tls ? tls_version(c->tls) : NULL;
}

size_t conn_queued(const struct conn *c)
{
    return c->out.bytes;
}

void conn_want_drained(struct conn *c, size_t below)
{
    if (!c->forgot)
        c->drained_below = below < UINT32_MAX ? (uint32_t)below : UINT32_MAX;
}

void conn_compress(struct conn *c, int window_bits)
{
    c->window_bits = (uint8_t)window_bits;
    c->parser.inflater = c->loop->inflater;
    loop_count(&c->loop->counters.deflating, 1);
}

bool conn_closing(const struct conn *c)
{
    return c->state != CONN_OPEN;
}

uint64_t conn_messages(const struct conn *c)
{
    return c->messages_in;
}

bool conn_answers(const struct conn *c)
{
    return !c->late;
}
