#include "cli/bench_reader.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/bench_writer.h"
#include "cli/interrupt.h"
#include "cli/ws_client.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define OPEN_TIMEOUT_MS 10000
#define TURN_MS 100
#define EVENTS_MAX 256

struct subscriber {
    struct bench_reader *reader;
    struct ws_client *ws;
    uint64_t seq;   /* of its last change */
    uint64_t *last; /* by writer, the count of its last row */
    bool live;
};

struct bench_reader {
    int count, writers;
    struct subscriber *subscribers;
    int epoll;
    uint64_t *last; /* of all subscribers */
    struct histogram latency;
    atomic_uint_fast64_t received;
    atomic_bool stop, failed;
    bool started;
    pthread_t thread;
    struct buf err; /* the first thing that was wrong */
};

static int fail(struct bench_reader *r, const struct subscriber *s, const char *what)
{
    if (!atomic_exchange(&r->failed, true))
        buf_printf(&r->err, "subscriber %d: %s", (int)(s - r->subscribers) + 1, what);
    return STATUS_INVALID;
}

/* The number behind `name` at or after *at; a JSON parser would be the slowest part of this thread.
 */
static bool take_number(const char **at, const char *end, const char *name, int64_t *v)
{
    const char *p = memmem(*at, (size_t)(end - *at), name, strlen(name)), *start;

    if (!p)
        return false;
    start = p += strlen(name);
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    *at = p;
    return text_parse_i64(start, (size_t)(p - start), v) == 0;
}

static int take_change(struct subscriber *s, const char *text, size_t len)
{
    struct bench_reader *r = s->reader;
    const char *at = text, *end = text + len;
    int64_t seq, key, sent, writer;

    if (!take_number(&at, end, "\"seq\":", &seq) || !take_number(&at, end, "\"k\":", &key) ||
        !take_number(&at, end, "\"at\":", &sent))
        return fail(r, s, "a change without seq, k or at");
    histogram_add(&r->latency, clock_mono_ns() - sent);
    if ((uint64_t)seq <= s->seq)
        return fail(r, s, "a change came twice or late: its seq does not rise");
    s->seq = (uint64_t)seq;
    writer = key >> BENCH_KEY_SHIFT;
    if (writer < 0 || writer >= r->writers)
        return fail(r, s, "a row that no writer wrote; does somebody else use this table?");
    if ((uint64_t)(key & (((int64_t)1 << BENCH_KEY_SHIFT) - 1)) != ++s->last[writer])
        return fail(r, s, "a writer's rows came with a gap or out of order");
    atomic_fetch_add_explicit(&r->received, 1, memory_order_relaxed);
    return 0;
}

static int take_other(struct subscriber *s, const char *text, size_t len)
{
    char why[128];
    json_t *message = json_read(text, len, why, sizeof(why));
    const char *type = json_string_value(json_object_get(message, "type"));
    const char *reason =
        json_string_value(json_object_get(json_object_get(message, "error"), "message"));
    int status = 0;

    if (type && strcmp(type, "subscribed") == 0)
        s->live = true;
    else if (type && strcmp(type, "error") == 0)
        status = fail(s->reader, s, reason ? reason : "the server refused without saying why");
    else if (type && strcmp(type, "resync") == 0)
        status = fail(s->reader, s, "the server says that changes are missing (resync)");
    json_decref(message);
    return status;
}

static int on_message(void *ctx, const char *text, size_t len)
{
    static const char change[] = "\"type\":\"database_change\"";
    struct subscriber *s = ctx;

    if (memmem(text, len, change, sizeof(change) - 1))
        return take_change(s, text, len);
    return take_other(s, text, len);
}

static int open_one(struct bench_reader *r, struct subscriber *s, const struct target *target,
    const struct buf *subscribe, struct buf *err)
{
    struct target t = *target;
    int64_t end = clock_mono_ms() + OPEN_TIMEOUT_MS;
    bool again;
    int status;

    s->ws = ws_client_open(&t, "/ws", OPEN_TIMEOUT_MS, &again, err);
    if (!s->ws)
        return STATUS_IO;
    status = ws_client_send(s->ws, subscribe->data, subscribe->len);
    while (status == 0 && !s->live && clock_mono_ms() < end && !interrupt_seen())
        status = ws_client_wait(s->ws, end - clock_mono_ms(), NULL, on_message, s);
    if (s->live)
        return 0;
    if (r->err.len)
        buf_put(err, r->err.data, r->err.len);
    else
        buf_printf(err, "subscriber %d was not answered", (int)(s - r->subscribers) + 1);
    return STATUS_IO;
}

static int listen_to(struct bench_reader *r, struct subscriber *s, struct buf *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};

    if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, ws_client_fd(s->ws), &event) == 0)
        return 0;
    buf_printf(err, "cannot wait for subscribers: %s", strerror(errno));
    return STATUS_IO;
}

static int open_all(
    struct bench_reader *r, const struct target *target, const char *table, struct buf *err)
{
    struct buf subscribe = {0};
    int status = 0;

    buf_puts(&subscribe, "{\"type\":\"subscribe\",\"table\":");
    buf_put_json_text(&subscribe, table);
    buf_putc(&subscribe, '}');
    if (buf_error(&subscribe)) {
        buf_puts(err, "out of memory");
        status = STATUS_NOMEM;
    }
    for (int i = 0; i < r->count && status == 0; i++) {
        struct subscriber *s = &r->subscribers[i];

        s->reader = r;
        s->last = r->last + (size_t)i * (size_t)r->writers;
        status = open_one(r, s, target, &subscribe, err);
        if (status == 0)
            status = listen_to(r, s, err);
    }
    buf_fini(&subscribe);
    return status;
}

struct bench_reader *bench_reader_new(
    const struct target *target, const char *table, int count, int writers, struct buf *err)
{
    struct bench_reader *r = mem_zalloc(sizeof(*r));

    if (!r) {
        buf_puts(err, "out of memory");
        return NULL;
    }
    r->epoll = -1;
    r->count = count;
    r->writers = writers;
    r->subscribers = mem_array((size_t)count, sizeof(*r->subscribers));
    r->last = mem_array((size_t)count * (size_t)writers, sizeof(*r->last));
    if (count && (!r->subscribers || !r->last)) {
        buf_puts(err, "out of memory");
        goto fail;
    }
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (r->epoll < 0)
        buf_printf(err, "cannot wait for subscribers: %s", strerror(errno));
    else if (open_all(r, target, table, err) == 0)
        return r;
fail:
    bench_reader_free(r);
    return NULL;
}

static void read_one(struct bench_reader *r, struct subscriber *s)
{
    if (ws_client_read(s->ws, on_message, s) == 0)
        return;
    if (!interrupt_seen())
        fail(r, s,
            ws_client_code(s->ws) == WS_CLOSE_TRY_LATER
                ? "closed by the server because it read too slowly (1013)"
                : "the connection was lost");
    epoll_ctl(r->epoll, EPOLL_CTL_DEL, ws_client_fd(s->ws), NULL);
}

static void *run(void *ctx)
{
    struct bench_reader *r = ctx;
    struct epoll_event events[EVENTS_MAX];

    while (!atomic_load(&r->stop)) {
        int ready = epoll_wait(r->epoll, events, EVENTS_MAX, TURN_MS);

        for (int i = 0; i < ready; i++)
            read_one(r, events[i].data.ptr);
    }
    return NULL;
}

int bench_reader_start(struct bench_reader *r)
{
    if (pthread_create(&r->thread, NULL, run, r) != 0)
        return STATUS_NOMEM;
    r->started = true;
    return 0;
}

uint64_t bench_reader_received(const struct bench_reader *r)
{
    return atomic_load_explicit(&r->received, memory_order_relaxed);
}

bool bench_reader_failed(const struct bench_reader *r)
{
    return atomic_load(&r->failed);
}

void bench_reader_stop(struct bench_reader *r)
{
    if (!r->started)
        return;
    atomic_store(&r->stop, true);
    pthread_join(r->thread, NULL);
    r->started = false;
}

void bench_reader_free(struct bench_reader *r)
{
    if (!r)
        return;
    for (int i = 0; r->subscribers && i < r->count; i++)
        ws_client_free(r->subscribers[i].ws);
    mem_free(r->subscribers);
    if (r->epoll >= 0)
        close(r->epoll);
    mem_free(r->last);
    buf_fini(&r->err);
    mem_free(r);
}

const struct histogram *bench_reader_latency(const struct bench_reader *r)
{
    return &r->latency;
}

bool bench_reader_check(const struct bench_reader *r, const uint64_t *acknowledged, struct buf *err)
{
    if (atomic_load(&r->failed)) {
        buf_put(err, r->err.data, r->err.len);
        return false;
    }
    for (int i = 0; i < r->count; i++) {
        for (int w = 0; w < r->writers; w++) {
            uint64_t last = r->subscribers[i].last[w];

            if (last >= acknowledged[w])
                continue;
            buf_printf(err, "subscriber %d got %llu of writer %d's %llu rows", i + 1,
                (unsigned long long)last, w + 1, (unsigned long long)acknowledged[w]);
            return false;
        }
    }
    return true;
}
