#include "cli/bench_reader_parts.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"
#include "cli/bench_frames.h"
#include "cli/bench_writer.h"
#include "cli/interrupt.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TURN_MS 100
#define EVENTS_MAX 512

const struct bench_speech bench_speech_native = {
    .path = "/ws", .greeting = "\"connection:ack\"", .before = "", .after = ""};

static int fail(struct bench_reader *r, const struct subscriber *s, const char *what)
{
    if (!atomic_exchange(&r->failed, true))
        buf_printf(&r->err, "subscriber %d: %s", (int)(s - r->subscribers) + 1, what);
    return STATUS_INVALID;
}

/* What arrives. */

static int take_change(struct subscriber *s, const struct bench_change *c)
{
    struct bench_reader *r = s->reader;
    int64_t writer = c->key >> BENCH_KEY_SHIFT;
    uint64_t row = (uint64_t)(c->key & (((int64_t)1 << BENCH_KEY_SHIFT) - 1));

    histogram_add(&r->latency, r->now - c->at);
    if ((uint64_t)c->seq <= s->seq)
        return fail(r, s, "a change came twice or late: its seq does not rise");
    s->seq = (uint64_t)c->seq;
    if (writer < 0 || writer >= r->o.writers)
        return fail(r, s, "a row that no writer wrote; does somebody else use this table?");
    if (row != (s->last[writer] ? s->last[writer] + s->share.stride : s->share.first))
        return fail(r, s, "a writer's rows came with a gap or out of order");
    s->last[writer] = row;
    atomic_store_explicit(&r->received,
        atomic_load_explicit(&r->received, memory_order_relaxed) + 1, memory_order_relaxed);
    return 0;
}

/* A message as it stands, for what the other side's protocol has besides. */
static int send_plain(struct subscriber *s, enum ws_opcode opcode, const char *text, size_t len)
{
    struct buf frame = {0};
    int status;

    bench_frames_put(&frame, opcode, text, len);
    status = buf_error(&frame);
    if (status == 0)
        status = bench_wire_send(&s->wire, frame.data, frame.len);
    buf_fini(&frame);
    return status < 0 ? fail(s->reader, s, "the connection was lost") : 0;
}

static void opened(struct subscriber *s)
{
    s->state = OPEN;
    s->reader->opening--;
    s->reader->open++;
}

static bool has(const char *text, size_t len, const char *what)
{
    return memmem(text, len, what, strlen(what)) != NULL;
}

static int take_greeting(struct subscriber *s, const char *text, size_t len)
{
    const struct bench_speech *speech = s->reader->o.speech;

    if (!has(text, len, s->state == GREETING ? speech->greeting : speech->welcome))
        return fail(s->reader, s, "the server's greeting is not the expected one");
    if (s->state == GREETING && speech->hello) {
        s->state = WELCOMING;
        return send_plain(s, WS_TEXT, speech->hello, strlen(speech->hello));
    }
    opened(s);
    return 0;
}

static int take_other(struct subscriber *s, const char *text, size_t len)
{
    struct bench_reader *r = s->reader;
    const struct bench_speech *speech = r->o.speech;

    if (s->state != OPEN)
        return take_greeting(s, text, len);
    if (speech->ping && len == strlen(speech->ping) && memcmp(text, speech->ping, len) == 0)
        return send_plain(s, WS_TEXT, speech->pong, strlen(speech->pong));
    if (has(text, len, "\"type\":\"subscribed\"")) {
        r->confirmed++;
    } else if (has(text, len, "\"type\":\"error\"")) {
        char why[128];
        json_t *m = json_read(text, len, why, sizeof(why));
        const char *reason =
            json_string_value(json_object_get(json_object_get(m, "error"), "message"));

        fail(r, s, reason ? reason : "the server refused without saying why");
        json_decref(m);
    } else if (has(text, len, "\"type\":\"resync\"")) {
        fail(r, s, "the server says that changes are missing (resync)");
    }
    return 0;
}

static int on_frame(void *ctx, const struct bench_frame *f)
{
    struct subscriber *s = ctx;
    struct bench_reader *r = s->reader;
    struct bench_change change;

    if (f->opcode == WS_TEXT) {
        if (s->state != OPEN || !bench_change_is(&r->places, f->data, f->len))
            return take_other(s, f->data, f->len);
        if (!bench_change_read(&r->places, f->data, f->len, &change))
            return fail(r, s, "a change without seq, k or at");
        return take_change(s, &change);
    }
    if (f->opcode == WS_PING)
        return send_plain(s, WS_PONG, f->data, f->len);
    if (f->opcode == WS_CLOSE)
        return fail(r, s,
            f->len >= 2 && ((uint8_t)f->data[0] << 8 | (uint8_t)f->data[1]) == WS_CLOSE_TRY_LATER
                ? "closed by the server because it read too slowly (1013)"
                : "closed by the server");
    return f->opcode == WS_PONG ? 0 : fail(r, s, "a frame of a kind that was not asked for");
}

static int take_frames(struct subscriber *s, uint8_t *data, size_t len)
{
    ssize_t used = bench_frames_read(data, len, on_frame, s);

    if (used < 0)
        return atomic_load(&s->reader->failed) ? STATUS_INVALID
                                               : fail(s->reader, s, "a frame is too large");
    buf_reset(&s->rest);
    buf_put(&s->rest, data + used, len - (size_t)used);
    return buf_error(&s->rest) ? fail(s->reader, s, "out of memory") : 0;
}

static int take_handshake(struct subscriber *s, const uint8_t *data, size_t len)
{
    struct bench_reader *r = s->reader;
    struct handshake *h = s->handshake;
    struct buf why = {0};
    bool again;
    int status = 0;

    if (handshake_feed(h, (const char *)data, len) < 0)
        return fail(r, s, "the server's answer to the handshake is not one");
    if (!handshake_done(h))
        return 0;
    if (handshake_check(h, bench_address_base(r->o.address), &again, &why) < 0) {
        status = fail(r, s, buf_text(&why) ? why.data : "out of memory");
    } else {
        s->handshake = NULL;
        s->state = GREETING;
        if (h->rest.len) {
            memcpy(r->scratch, h->rest.data, h->rest.len);
            status = take_frames(s, r->scratch, h->rest.len);
        }
        handshake_fini(h);
        mem_free(h);
    }
    buf_fini(&why);
    return status;
}

/* All that is there is read only with TLS, which may keep some that would wake nobody. */
static void read_one(struct bench_reader *r, struct subscriber *s)
{
    do {
        size_t have = s->rest.len;
        ssize_t n;

        if (have)
            memcpy(r->scratch, s->rest.data, have);
        n = bench_wire_read(&s->wire, r->scratch + have, sizeof(r->scratch) - have);
        if (n < 0) {
            if (!interrupt_seen())
                fail(r, s, "the connection was lost");
            bench_wire_close(&s->wire);
        }
        if (n <= 0)
            return;
        r->now = clock_mono_ns();
        if (s->state == SHAKING_HANDS ? take_handshake(s, r->scratch, (size_t)n) < 0
                                      : take_frames(s, r->scratch, have + (size_t)n) < 0)
            return;
    } while (s->wire.tls);
}

int bench_reader_wait(struct bench_reader *r, int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int ready = epoll_wait(r->epoll, events, EVENTS_MAX, timeout_ms);

    for (int i = 0; i < ready && !atomic_load(&r->failed); i++) {
        struct subscriber *s = events[i].data.ptr;

        if (events[i].events & EPOLLOUT && bench_wire_flush(&s->wire) < 0)
            fail(r, s, "the connection was lost");
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            read_one(r, s);
    }
    return ready;
}

struct bench_reader *bench_reader_new(const struct bench_reader_options *o, struct buf *err)
{
    struct bench_reader *r = mem_zalloc(sizeof(*r));

    if (!r)
        goto no_memory;
    r->o = *o;
    r->count = (int)o->spread.subscribers;
    r->subscribers = mem_array((size_t)r->count, sizeof(*r->subscribers));
    r->last = mem_array((size_t)r->count * (size_t)o->writers, sizeof(*r->last));
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (r->count && (!r->subscribers || !r->last))
        goto no_memory;
    for (int i = 0; i < r->count; i++)
        r->subscribers[i] = (struct subscriber){
            .reader = r,
            .wire.fd = -1,
            .last = r->last + (size_t)i * (size_t)o->writers,
            .share = bench_spread_share(&o->spread, i),
        };
    if (r->epoll >= 0)
        return r;
    buf_printf(err, "cannot wait for subscribers: %s", strerror(errno));
    bench_reader_free(r);
    return NULL;
no_memory:
    buf_puts(err, "out of memory");
    bench_reader_free(r);
    return NULL;
}

void bench_reader_free(struct bench_reader *r)
{
    if (!r)
        return;
    for (int i = 0; r->subscribers && i < r->count; i++) {
        struct subscriber *s = &r->subscribers[i];

        bench_wire_close(&s->wire);
        buf_fini(&s->rest);
        if (s->handshake)
            handshake_fini(s->handshake);
        mem_free(s->handshake);
    }
    mem_free(r->subscribers);
    if (r->epoll > 0)
        close(r->epoll);
    mem_free(r->last);
    buf_fini(&r->err);
    mem_free(r);
}

/* The thread. */

static void *run(void *ctx)
{
    struct bench_reader *r = ctx;

    while (!atomic_load(&r->stop) && !atomic_load(&r->failed))
        bench_reader_wait(r, TURN_MS);
    return NULL;
}

void bench_reader_begin(struct bench_reader *r)
{
    memset(&r->latency, 0, sizeof(r->latency));
}

void bench_reader_turn(struct bench_reader *r)
{
    if (!atomic_load(&r->failed))
        bench_reader_wait(r, 0);
}

int bench_reader_start(struct bench_reader *r)
{
    bench_reader_begin(r);
    atomic_store(&r->stop, false);
    if (thread_start(&r->thread, NULL, run, r, "subscribers") != 0)
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

const struct histogram *bench_reader_latency(const struct bench_reader *r)
{
    return &r->latency;
}

uint64_t bench_reader_due(const struct bench_reader *r, const uint64_t *acknowledged)
{
    uint64_t due = 0;

    for (int i = 0; i < r->count; i++)
        for (int w = 0; w < r->o.writers; w++)
            due += bench_share_count(r->subscribers[i].share, acknowledged[w]);
    return due;
}

bool bench_reader_check(const struct bench_reader *r, const uint64_t *acknowledged, struct buf *err)
{
    if (atomic_load(&r->failed)) {
        buf_put(err, r->err.data, r->err.len);
        return false;
    }
    for (int i = 0; i < r->count; i++) {
        const struct subscriber *s = &r->subscribers[i];

        for (int w = 0; w < r->o.writers; w++) {
            if (s->last[w] >= bench_share_last(s->share, acknowledged[w]))
                continue;
            buf_printf(err, "subscriber %d got %llu of its %llu rows of writer %d", i + 1,
                (unsigned long long)bench_share_count(s->share, s->last[w]),
                (unsigned long long)bench_share_count(s->share, acknowledged[w]), w + 1);
            return false;
        }
    }
    return true;
}
