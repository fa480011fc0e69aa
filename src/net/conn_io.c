#include "base/clock.h"
#include "base/mem.h"
#include "net/private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define READS 4    /* of one connection in one turn */
#define SENDS 4    /* likewise */
#define PONGS 4096 /* queued before only the latest ping is answered (RFC 6455 section 5.5.3) */
#define PONGS_ALL 65536 /* of all connections together; past it each has … */
#define PONGS_FEW 16
#define DRAINING_MS 1000     /* for the peer to close its side after ours, or to send more … */
#define DRAINING_MAX_MS 4000 /* … for so long */
#define IDLE_REST_MS 50      /* in which no more than WS_IDLE_MAX of pings and the like is taken */

static void watch(struct conn *c, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};

    if (events == c->events)
        return;
    c->events = events;
    if (epoll_ctl(c->loop->epoll, EPOLL_CTL_MOD, c->fd, &e))
        conn_end(c);
}

static void receive(struct conn *c);

static void begin_slice(struct loop *l)
{
    l->slice_messages = 0;
    l->slice_end = clock_mono_ns() + SLICE_NS;
}

static bool slice_is_over(const struct loop *l)
{
    return l->slice_messages > SLICE_LEAST && clock_mono_ns() > l->slice_end;
}

/* One more message or ping. */
static void pause_if_due(struct conn *c)
{
    c->loop->slice_messages++;
    c->parser.pause = slice_is_over(c->loop);
}

static int on_message(void *ctx, enum ws_opcode opcode, const char *data, size_t len)
{
    struct conn *c = ctx;

    if (c->state != CONN_OPEN || !c->owner)
        return 0;
    loop_count(&c->loop->counters.messages_in, 1);
    loop_largest(&c->loop->counters.largest_in, len);
    c->messages_in++;
    c->active_ms = (uint32_t)c->loop->now;
    if (c->ops->message(c->owner, opcode, data, len))
        conn_close(c, WS_CLOSE_INTERNAL, "internal error");
    pause_if_due(c);
    return 0;
}

/* Too many pings wait for their pongs: keeps the payload of this one, the last so far. */
static void answer_later(struct conn *c, const char *data, size_t len)
{
    if (!c->late_pong)
        c->late_pong = body_new_empty(125);
    if (!c->late_pong) {
        conn_fail(c, WS_CLOSE_INTERNAL, "out of memory");
        return;
    }
    c->late_pong->len = (uint32_t)len;
    memcpy(c->late_pong->data, data, len);
}

static int on_ping(void *ctx, const char *data, size_t len)
{
    struct conn *c = ctx;

    if (c->state != CONN_OPEN)
        return 0;
    pause_if_due(c);
    if (c->pongs == PONGS || (c->loop->pongs >= PONGS_ALL && c->pongs >= PONGS_FEW)) {
        answer_later(c, data, len);
        return 0;
    }
    c->pongs++;
    c->loop->pongs++;
    if (conn_put_control(c, WS_PONG, data, len))
        conn_fail(c, WS_CLOSE_INTERNAL, "out of memory");
    return 0;
}

static int on_pong(void *ctx, const char *data, size_t len)
{
    heartbeat_pong(ctx, data, len);
    return 0;
}

static int on_close(void *ctx, int code, const char *reason, size_t len)
{
    (void)reason;
    (void)len;
    conn_finish(ctx, code);
    return 0;
}

static const struct ws_events events = {on_message, on_ping, on_pong, on_close};

static void fail(struct conn *c, int code)
{
    char reason[100];

    switch (code) {
    case WS_CLOSE_TOO_LARGE:
        snprintf(reason, sizeof(reason), "message larger than %zu bytes", c->parser.max_message);
        conn_fail(c, code, reason);
        break;
    case WS_CLOSE_BAD_DATA:
        conn_fail(c, code,
            c->parser.compressed ? "message is not DEFLATE data, or not UTF-8 text"
                                 : "text is not UTF-8");
        break;
    case WS_CLOSE_INTERNAL:
        conn_fail(c, code, "out of memory");
        break;
    default:
        conn_fail(c, code, "frame breaks the WebSocket protocol");
    }
}

static bool too_idle(const struct conn *c)
{
    return c->parser.idle >= WS_IDLE_MAX;
}

/* What was compressed has grown to so much, or the messages took so long, that the rest has to wait
 * for its next turn; or there were so many pings that it waits for some time. */
static void pause_with(struct conn *c, const char *rest, size_t n)
{
    struct loop *l = c->loop;
    struct rest *r = mem_alloc(sizeof(*r) + n);

    if (!r) {
        fail(c, WS_CLOSE_INTERNAL);
        return;
    }
    r->conn = c;
    r->len = n;
    r->due = l->now + IDLE_REST_MS;
    if (n)
        memcpy(r->data, rest, n);
    c->rest = r;
    list_add_tail(too_idle(c) ? &l->resting : &l->rests, &r->node);
    watch(c, c->events & ~(uint32_t)EPOLLIN);
}

static void parse(struct conn *c, char *data, size_t n)
{
    int rc;

    if (c->state != CONN_OPEN && c->state != CONN_CLOSING)
        return;
    c->parser.inflated = 0;
    c->parser.pause = false;
    if ((uint32_t)c->loop->now - c->idle_ms >= IDLE_REST_MS) {
        c->parser.idle = 0;
        c->idle_ms = (uint32_t)c->loop->now;
    }
    rc = ws_feed(&c->parser, &events, c, (uint8_t *)data, n);
    if (rc > 0)
        fail(c, rc);
    else if ((c->parser.left || too_idle(c)) && c->state != CONN_DEAD)
        pause_with(c, data + n - c->parser.left, c->parser.left);
    if (c->state != CONN_DEAD)
        half_note(c);
}

/* What it sends until it hears that we have ended is thrown away, for closing with bytes unread
 * would take from it the reason, too. */
static void drain_on(struct conn *c)
{
    struct loop *l = c->loop;

    if ((uint32_t)l->now - c->ping_ms >= DRAINING_MAX_MS)
        return;
    list_del(&c->timer);
    c->due = l->now + DRAINING_MS;
    list_add_tail(&l->draining, &c->timer);
}

static void take(struct conn *c, size_t n)
{
    if (c->state == CONN_DRAINING)
        drain_on(c);
    if (conn_is_stream(c))
        return;
    heartbeat_arrived(c);
    parse(c, c->loop->in, n);
}

void conn_io_resume(struct rest *r)
{
    struct conn *c = r->conn;

    c->rest = NULL;
    list_del(&r->node);
    watch(c, c->events | EPOLLIN);
    begin_slice(c->loop);
    parse(c, r->data, r->len);
    mem_free(r);
    /* The end of the stream is no event of the socket's then. */
    if (c->tls && tls_ended(c->tls))
        receive(c);
}

void conn_io_forget(struct conn *c)
{
    if (!c->rest)
        return;
    list_del(&c->rest->node);
    mem_free(c->rest);
    c->rest = NULL;
}

/* A peer that shut only its sending side may still wait for our answers, that to its Close too. */
static void at_eof(struct conn *c)
{
    c->eof = true;
    if (conn_is_stream(c) || conn_all_sent(c)) {
        conn_end(c);
        return;
    }
    conn_finish_silently(c);
    watch(c, c->events & ~(uint32_t)EPOLLIN);
}

/* What is thrown away need not be decrypted, and after our end TLS would not. */
static bool is_plain(const struct conn *c)
{
    return !c->tls || c->state == CONN_DRAINING;
}

static ssize_t pull(struct conn *c)
{
    ssize_t n;

    if (is_plain(c))
        return recv(c->fd, c->loop->in, LOOP_IN_SIZE, MSG_DONTWAIT);
    n = tls_recv(c->tls, c->loop->in, LOOP_IN_SIZE);
    if (tls_unsent(c->tls)) /* it answers by itself what is not data */
        conn_touch(c);
    return n;
}

/* So much was received: is there more, as far as we know? */
static bool goes_on(const struct conn *c, ssize_t n)
{
    return is_plain(c) ? n == LOOP_IN_SIZE : tls_more(c->tls);
}

static void receive(struct conn *c)
{
    struct loop *l = c->loop;
    int i;

    begin_slice(l);
    for (i = 0; (i < READS || (!is_plain(c) && tls_ended(c->tls))) && !c->eof &&
                c->state != CONN_DEAD && !c->rest;
         i++) {
        ssize_t n = pull(c);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n < 0) {
            conn_end(c);
            return;
        }
        if (n == 0) {
            at_eof(c);
            return;
        }
        loop_count(&l->counters.bytes_in, (uint64_t)n);
        /* What was posted before these bytes were sent is handled before them. */
        loop_run_mailbox(l);
        take(c, (size_t)n);
        if (c->state == CONN_DEAD || !goes_on(c, n) ||
            (is_plain(c) &&
                clock_mono_ns() > l->slice_end)) /* the socket tells of the rest again */
            return;
    }
}

void conn_io_event(struct conn *c, uint32_t seen)
{
    if (seen & EPOLLOUT) {
        c->blocked = false;
        conn_touch(c);
    }
    if (!(seen & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    if (c->eof)
        conn_end(c);
    else
        receive(c); /* unless it is paused */
}

/* One piece costs the kernel less than a list of them. */
static ssize_t give(int fd, struct outq_gather *g)
{
    struct msghdr m = {.msg_iov = g->iov, .msg_iovlen = (size_t)g->count};

    if (g->count == 1)
        return send(fd, g->iov->iov_base, g->iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ssize_t push(struct conn *c, struct outq_gather *g)
{
    ssize_t n;

    if (c->tls)
        return tls_send(c->tls, g->iov, g->count, c->loop->room);
    do
        n = give(c->fd, g);
    while (n < 0 && errno == EINTR);
    return n;
}

/* What TLS keeps goes before all else. */
static void flush_tls(struct conn *c)
{
    if (tls_flush(c->tls) < 0) {
        conn_end(c);
        return;
    }
    c->blocked = tls_unsent(c->tls);
    if (!list_empty(&c->notes))
        conn_notes_sent(c);
}

static void send_some(struct conn *c)
{
    struct loop *l = c->loop;
    struct outq_gather g;
    ssize_t n;

    g.scratch = l->out;
    g.cap = c->tls ? TLS_ROUND : LOOP_OUT_SIZE;
    outq_gather(&c->out, &g);
    n = push(c, &g);
    loop_count(&l->counters.sends, 1);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        conn_end(c);
        return;
    }
    if (n < 0)
        n = 0;
    loop_count(&l->counters.bytes_out, (uint64_t)n);
    outq_consume(&c->out, &l->pool, (size_t)n);
    heartbeat_sent(c, (size_t)n);
    c->sent += (uint64_t)n;
    c->blocked = c->tls ? tls_unsent(c->tls) : (size_t)n < g.total;
    if (!list_empty(&c->notes))
        conn_notes_sent(c);
}

static void shut(struct conn *c)
{
    if (c->tls)
        tls_finish(c->tls);
    if (c->tls && tls_unsent(c->tls)) { /* once more when the socket has taken it */
        c->blocked = true;
        watch(c, c->events | EPOLLOUT);
        return;
    }
    if (c->eof || shutdown(c->fd, SHUT_WR)) {
        conn_end(c);
        return;
    }
    c->state = CONN_DRAINING;
    list_del(&c->timer);
    c->due = c->loop->now + DRAINING_MS;
    c->ping_ms = (uint32_t)c->loop->now;
    list_add_tail(&c->loop->draining, &c->timer);
}

static void drained(struct conn *c)
{
    struct body *pong = c->late_pong;

    c->loop->pongs -= c->pongs;
    c->pongs = 0;
    watch(c, c->events & ~(uint32_t)EPOLLOUT);
    if (c->state == CONN_OPEN && pong) {
        c->late_pong = NULL;
        on_ping(c, pong->data, pong->len);
        body_unref(pong);
    } else if (c->state == CONN_FINISHING) {
        shut(c);
    }
}

void conn_io_push(struct conn *c)
{
    c->blocked = false;
    if (c->tls)
        flush_tls(c);
    if (c->out.bytes)
        tally_add_own(&c->loop->queues, &tally_bytes, (int64_t)c->out.bytes);
    for (int i = 0; i < SENDS && c->out.bytes && !c->blocked && c->state != CONN_DEAD; i++)
        send_some(c);
    if (c->blocked)
        c->retry_at = c->out.bytes < UINT32_MAX - RETRY_SIZE ? (uint32_t)c->out.bytes + RETRY_SIZE
                                                             : UINT32_MAX;
    round_sent(c->loop);
}

void conn_io_flush(struct conn *c)
{
    if (c->state == CONN_DEAD)
        return;
    conn_io_push(c);
    if (c->state == CONN_DEAD)
        return;
    if (c->out.bytes <= c->loop->options.slow_queue)
        list_del(&c->heavy);
    if (c->out.bytes < c->drained_below && c->state == CONN_OPEN && !(c->forgot && c->blocked)) {
        c->drained_below = 0;
        c->forgot = false;
        c->ops->drained(c->owner);
    }
    if (c->blocked)
        watch(c, c->events | EPOLLOUT);
    else if (c->out.bytes)
        conn_touch(c);
    else
        drained(c);
}
