#include "cli/bench_http.h"
#include "base/clock.h"
#include "base/cores.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"
#include "cli/bench_answer.h"
#include "cli/bench_socket.h"
#include "cli/interrupt.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_MAX 64
#define TURN_MS 50
#define ANSWER_TIMEOUT_MS 60000
#define READ_SIZE 65536

struct connection {
    struct bench_http *http;
    struct bench_wire wire;
    struct bench_socket socket; /* with a pipeline */
    struct buf request, in;
    int64_t *from;        /* a ring of the requests under way */
    int first, under_way; /* in it */
    bool used, again;     /* used: has been answered; again: the request was sent twice */
};

struct bench_http {
    struct bench_http_options o;
    struct connection *connections;
    int depth;             /* requests that may be under way on a connection */
    int *idle, idle_count; /* connections, as often as each could make one more */
    int64_t *from;
    int epoll, timer;
    int64_t due, interval; /* ns; with a rate */
    struct buf head;       /* of every request, up to the length */
    struct buf body;
    uint64_t requests;
    int64_t made; /* requests, in this round */
    struct histogram latency;
    atomic_bool stop, failed, ended;
    atomic_bool over; /* no turn comes any more */
    int64_t heard_ms;
    bool started, cut_off;
    pthread_t thread;
    struct buf err;
    char scratch[READ_SIZE];
};

static int put_head(struct bench_http *h)
{
    const char *base = bench_address_base(h->o.address), *host = strstr(base, "://") + 3;
    const char *token = bench_address_token(h->o.address);
    int host_len = (int)strcspn(host, "/");

    buf_printf(&h->head,
        "POST %s/api/sql HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: rowtap\r\n"
        "Content-Type: application/json\r\n",
        host + host_len, host_len, host);
    if (token)
        buf_printf(&h->head, "Authorization: Bearer %s\r\n", token);
    buf_puts(&h->head, "Content-Length: ");
    return buf_error(&h->head);
}

struct bench_http *bench_http_new(const struct bench_http_options *o, struct buf *err)
{
    struct bench_http *h = mem_zalloc(sizeof(*h));

    if (!h)
        goto no_memory;
    h->o = *o;
    h->depth = o->pipeline ? o->pipeline : 1;
    h->interval = o->rate ? 1000000000 / o->rate : 0;
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    h->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    h->connections = mem_array((size_t)o->count, sizeof(*h->connections));
    h->idle = mem_array((size_t)o->count * (size_t)h->depth, sizeof(*h->idle));
    h->from = mem_array((size_t)o->count * (size_t)h->depth, sizeof(*h->from));
    if (h->epoll < 0 || h->timer < 0) {
        buf_printf(err, "cannot wait for answers: %s", strerror(errno));
        bench_http_free(h);
        return NULL;
    }
    if (!h->connections || !h->idle || !h->from || put_head(h) < 0)
        goto no_memory;
    for (int i = 0; i < o->count; i++)
        h->connections[i] = (struct connection){
            .http = h, .wire.fd = -1, .from = h->from + (size_t)i * (size_t)h->depth};
    return h;
no_memory:
    buf_puts(err, "out of memory");
    bench_http_free(h);
    return NULL;
}

static void disconnect(struct bench_http *h)
{
    for (int i = 0; h->connections && i < h->o.count; i++) {
        bench_wire_close(&h->connections[i].wire);
        buf_fini(&h->connections[i].in);
        buf_fini(&h->connections[i].request);
        h->connections[i].first = h->connections[i].under_way = 0;
        bench_socket_fini(&h->connections[i].socket);
    }
    h->idle_count = 0;
}

void bench_http_free(struct bench_http *h)
{
    if (!h)
        return;
    disconnect(h);
    mem_free(h->connections);
    mem_free(h->idle);
    mem_free(h->from);
    if (h->epoll > 0)
        close(h->epoll);
    if (h->timer > 0)
        close(h->timer);
    buf_fini(&h->head);
    buf_fini(&h->body);
    buf_fini(&h->err);
    mem_free(h);
}

static void fail(struct bench_http *h, const struct connection *c, const char *what)
{
    if (!atomic_exchange(&h->failed, true))
        buf_printf(&h->err, "connection %d: %s", (int)(c - h->connections) + 1, what);
}

static int reopen(struct bench_http *h, struct connection *c)
{
    struct buf why = {0};
    int status;

    bench_wire_close(&c->wire);
    buf_reset(&c->in);
    c->used = false;
    status = bench_wire_open(&c->wire, h->o.address, h->epoll, c, &why);
    if (status < 0)
        fail(h, c, buf_text(&why) ? why.data : "out of memory");
    buf_fini(&why);
    return status;
}

static int send_request(struct connection *c)
{
    return bench_wire_send(&c->wire, c->request.data, c->request.len);
}

/* Over a WebSocket: sent with the others that are made now. */
static void add_request(struct bench_http *h, struct connection *c)
{
    bench_socket_put(&c->socket, h->body.data, h->body.len, &c->request);
    if (buf_error(&c->request))
        fail(h, c, "out of memory");
}

static void send_added(struct bench_http *h)
{
    for (int i = 0; i < h->o.count && h->o.pipeline; i++) {
        struct connection *c = &h->connections[i];

        if (c->request.len && send_request(c) < 0)
            fail(h, c, "the connection was lost");
        buf_reset(&c->request);
    }
}

static void make_request(struct bench_http *h, struct connection *c, int64_t from)
{
    c->from[(c->first + c->under_way++) % h->depth] = from;
    c->again = false;
    h->made++;
    buf_reset(&h->body);
    h->o.put(h->o.ctx, (int)(c - h->connections), from, &h->body);
    if (h->o.pipeline) {
        if (buf_error(&h->body))
            fail(h, c, "out of memory");
        else
            add_request(h, c);
        return;
    }
    buf_reset(&c->request);
    buf_put(&c->request, h->head.data, h->head.len);
    buf_put_u64(&c->request, h->body.len);
    buf_puts(&c->request, "\r\n\r\n");
    buf_put(&c->request, h->body.data, h->body.len);
    if (buf_error(&h->body) || buf_error(&c->request)) {
        fail(h, c, "out of memory");
    } else if (c->wire.fd < 0 || send_request(c) < 0) {
        if (reopen(h, c) == 0 && send_request(c) < 0)
            fail(h, c, "the connection was lost");
    }
}

/*
 * A server may close a connection between two requests, and the next one may cross that: it was not
 * read, so it is sent again. If it was read after all, the rows come twice, which is noticed.
 */
static void on_end(struct bench_http *h, struct connection *c)
{
    if (c->under_way == 0 && !h->o.pipeline) {
        bench_wire_close(&c->wire);
    } else if (h->o.pipeline || !c->used || c->again || c->in.len) {
        fail(h, c, "the connection was lost before the answer");
    } else if (reopen(h, c) == 0) {
        c->again = true;
        if (send_request(c) < 0)
            fail(h, c, "the connection was lost");
    }
}

static bool all_made(const struct bench_http *h)
{
    return h->o.most && h->made >= h->o.most;
}

/* All requests whose time has come, as far as there are connections for them. */
static void make_requests(struct bench_http *h)
{
    int64_t now = clock_mono_ns();

    while (h->idle_count && !all_made(h) && !atomic_load(&h->failed) &&
           (!h->interval || h->due <= now)) {
        struct connection *c = &h->connections[h->idle[--h->idle_count]];

        make_request(h, c, h->interval ? h->due : clock_mono_ns());
        h->due += h->interval;
    }
    send_added(h);
    if (h->interval && h->idle_count && !h->o.by_turns) {
        struct itimerspec at = {
            .it_value = {.tv_sec = h->due / 1000000000, .tv_nsec = h->due % 1000000000}};

        timerfd_settime(h->timer, TFD_TIMER_ABSTIME, &at, NULL);
    }
}

static void explain(
    struct bench_http *h, const struct connection *c, int status, const char *body, size_t len)
{
    struct buf text = {0};

    bench_answer_explain(status, body, len, &text);
    fail(h, c, buf_text(&text) ? text.data : "out of memory");
    buf_fini(&text);
}

static void take_answer(
    struct bench_http *h, struct connection *c, int status, const char *body, size_t len)
{
    const char *why = "the answer is not understood";

    histogram_add(&h->latency, clock_mono_ns() - c->from[c->first]);
    if (status != 200) {
        explain(h, c, status, body, len);
    } else if (!h->o.answered(h->o.ctx, (int)(c - h->connections), body, len, &why)) {
        fail(h, c, why);
    } else {
        c->first = (c->first + 1) % h->depth;
        c->under_way--;
        h->requests++;
        h->idle[h->idle_count++] = (int)(c - h->connections);
    }
}

/* The connection's answer, if it is whole. */
static void take(struct bench_http *h, struct connection *c)
{
    struct bench_answer a;
    int status = bench_answer_read(&a, c->in.data, c->in.len);

    if (status < 0 || (status > 0 && c->under_way == 0)) {
        fail(h, c, "the server's answer is not one");
        return;
    }
    if (status == 0)
        return;
    take_answer(h, c, a.status, a.body, a.len);
    if (a.closes)
        bench_wire_close(&c->wire);
    buf_reset(&c->in);
    c->used = true;
}

static void take_opened(void *ctx)
{
    struct connection *c = ctx;
    struct bench_http *h = c->http;

    for (int i = 0; i < h->depth; i++)
        h->idle[h->idle_count++] = (int)(c - h->connections);
}

static void take_response(void *ctx, bool good, const char *text, size_t len)
{
    struct connection *c = ctx;

    take_answer(c->http, c, good ? 200 : 400, text, len);
}

static void take_frames(struct bench_http *h, struct connection *c)
{
    static const struct bench_socket_ops ops = {take_opened, take_response};
    const char *wrong = bench_socket_take(&c->socket, &c->in, &c->request, &ops, c);

    if (wrong)
        fail(h, c, wrong);
}

static void on_event(struct bench_http *h, struct connection *c, uint32_t events)
{
    ssize_t n = 0;

    if (events & EPOLLOUT && bench_wire_flush(&c->wire) < 0)
        n = STATUS_CLOSED;
    while (n == 0) {
        n = bench_wire_read(&c->wire, h->scratch, sizeof(h->scratch));
        if (n <= 0)
            break;
        buf_put(&c->in, h->scratch, (size_t)n);
        if (buf_error(&c->in))
            fail(h, c, "out of memory");
        else if (h->o.pipeline)
            take_frames(h, c);
        else
            take(h, c);
        if (!c->wire.tls)
            return;
        n = 0;
    }
    if (n < 0)
        on_end(h, c);
}

/* Or not even open. */
static bool any_under_way(const struct bench_http *h)
{
    return h->idle_count < h->o.count * h->depth;
}

static void wait_for_answers(struct bench_http *h, int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int ready = epoll_wait(h->epoll, events, EVENTS_MAX, timeout_ms);

    for (int i = 0; i < ready; i++) {
        uint64_t expired;

        h->heard_ms = clock_mono_ms();
        if (events[i].data.ptr)
            on_event(h, events[i].data.ptr, events[i].events);
        else if (read(h->timer, &expired, sizeof(expired)) < 0)
            continue;
    }
    if (any_under_way(h) && clock_mono_ms() - h->heard_ms > ANSWER_TIMEOUT_MS)
        fail(h, h->connections, "no answer for a minute");
}

/* Whether there is a next one. */
static bool turn(struct bench_http *h, int timeout_ms)
{
    bool stop = atomic_load(&h->stop) || all_made(h);

    if (atomic_load(&h->failed) || interrupt_seen()) {
        h->cut_off = any_under_way(h);
        return false;
    }
    if (stop && !any_under_way(h)) {
        atomic_store(&h->ended, true);
        return false;
    }
    if (!stop)
        make_requests(h);
    wait_for_answers(h, timeout_ms);
    return true;
}

bool bench_http_turn(struct bench_http *h)
{
    bool more = turn(h, 0);

    if (!more)
        atomic_store(&h->over, true);
    return more;
}

static void *run(void *ctx)
{
    struct bench_http *h = ctx;

    /* What keeps the reader busy is not to hold up who writes. */
    cores_ask_promptness();
    while (turn(h, TURN_MS))
        ;
    return NULL;
}

int bench_http_start(struct bench_http *h, struct buf *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    for (int i = 0; i < h->o.count; i++) {
        struct connection *c = &h->connections[i];

        if (bench_wire_open(&c->wire, h->o.address, h->epoll, c, err) < 0)
            return STATUS_IO;
        c->used = false;
        if (!h->o.pipeline) {
            h->idle[h->idle_count++] = i;
        } else if (bench_socket_begin(&c->socket, h->o.address, &c->request) < 0 ||
                   send_request(c) < 0) {
            buf_puts(err, "a connection was lost during the handshake");
            return STATUS_IO;
        }
        buf_reset(&c->request);
    }
    epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->timer, &event);
    memset(&h->latency, 0, sizeof(h->latency));
    h->requests = 0;
    h->made = 0;
    h->due = clock_mono_ns();
    atomic_store(&h->stop, false);
    atomic_store(&h->ended, false);
    atomic_store(&h->over, false);
    h->heard_ms = clock_mono_ms();
    h->started = true;
    if (!h->o.by_turns && thread_start(&h->thread, NULL, run, h, "requests") != 0) {
        h->started = false;
        buf_puts(err, "out of memory");
        return STATUS_NOMEM;
    }
    return 0;
}

bool bench_http_ended(const struct bench_http *h)
{
    return atomic_load(&h->failed) || atomic_load(&h->ended);
}

int bench_http_stop(struct bench_http *h, struct buf *err)
{
    int status = h->cut_off ? STATUS_CLOSED : 0;

    if (h->started) {
        atomic_store(&h->stop, true);
        if (!h->o.by_turns)
            pthread_join(h->thread, NULL);
        while (h->o.by_turns && !atomic_load(&h->over))
            usleep(TURN_MS * 1000);
        h->started = false;
        status = h->cut_off ? STATUS_CLOSED : 0;
    }
    if (atomic_load(&h->failed)) {
        if (!err->len)
            buf_put(err, h->err.data, h->err.len);
        status = STATUS_IO;
    }
    epoll_ctl(h->epoll, EPOLL_CTL_DEL, h->timer, NULL);
    disconnect(h);
    return status;
}

uint64_t bench_http_requests(const struct bench_http *h)
{
    return h->requests;
}

const struct histogram *bench_http_latency(const struct bench_http *h)
{
    return &h->latency;
}
