#include "cli/bench_reader_parts.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "cli/bench_frames.h"
#include "cli/interrupt.h"

/* Connecting and subscribing. */

#define SILENCE_MS 60000
#define TURN_MS 100
#define OPENING_MAX 64        /* connections being made at once */
#define UNCONFIRMED_MAX 20000 /* subscriptions asked for at once */
#define TOGETHER_MAX 100      /* by one subscriber */

static int open_one(struct bench_reader *r, struct subscriber *s, struct buf *err)
{
    struct buf request = {0};
    int status = bench_wire_open(&s->wire, r->o.address, r->epoll, s, err);

    if (status < 0)
        return status;
    s->handshake = mem_zalloc(sizeof(*s->handshake));
    if (!s->handshake) {
        buf_puts(err, "out of memory");
        return STATUS_NOMEM;
    }
    handshake_init(s->handshake);
    status = handshake_put_request(s->handshake, bench_address_base(r->o.address),
        r->o.speech->path, bench_address_token(r->o.address), &request);
    if (status == 0)
        status = bench_wire_send(&s->wire, request.data, request.len);
    if (status < 0)
        buf_puts(err, "a connection was lost during the handshake");
    buf_fini(&request);
    s->state = SHAKING_HANDS;
    r->opening++;
    return status;
}

/* One turn; false when it is over. `progress` is a number that grows, at *before until now. */
static int wait_for_progress(
    struct bench_reader *r, int64_t progress, int64_t *before, int64_t *when, struct buf *err)
{
    bench_reader_wait(r, TURN_MS);
    if (atomic_load(&r->failed)) {
        buf_put(err, r->err.data, r->err.len);
        return STATUS_IO;
    }
    if (interrupt_seen())
        return STATUS_CLOSED;
    if (progress != *before || !*when) {
        *before = progress;
        *when = clock_mono_ms();
    } else if (clock_mono_ms() - *when > SILENCE_MS) {
        buf_puts(err, "the server stopped to answer the subscribers");
        return STATUS_IO;
    }
    return 0;
}

int bench_reader_connect(struct bench_reader *r, struct buf *err)
{
    int64_t before = 0, when = 0;
    int status = 0;

    for (int next = 0; r->open < r->count && status == 0;) {
        while (next < r->count && r->opening < OPENING_MAX && status == 0)
            status = open_one(r, &r->subscribers[next++], err);
        if (status == 0)
            status = wait_for_progress(r, r->open, &before, &when, err);
    }
    return status;
}

/* Up to `most` of a subscriber's subscriptions from its number `first` on, written in one piece. */
static int ask(struct subscriber *s, int64_t first, int64_t most)
{
    const struct bench_reader *r = s->reader;
    struct buf message = {0}, frames = {0};
    int status;

    for (int64_t i = first; i < first + most; i++) {
        buf_reset(&message);
        buf_puts(&message, r->o.speech->before);
        bench_spread_put_subscribe(
            &r->o.spread, r->o.table, i * r->count + (s - r->subscribers), &message);
        buf_puts(&message, r->o.speech->after);
        bench_frames_put(&frames, WS_TEXT, message.data, message.len);
    }
    status = buf_error(&message) ? STATUS_NOMEM : buf_error(&frames);
    if (status == 0)
        status = bench_wire_send(&s->wire, frames.data, frames.len);
    buf_fini(&message);
    buf_fini(&frames);
    return status;
}

int bench_reader_subscribe(struct bench_reader *r, struct buf *err)
{
    const struct bench_spread *spread = &r->o.spread;
    int64_t each = spread->filter == BENCH_ALL ? 1 : spread->subscriptions / r->count;
    int64_t wanted = each * r->count, before = 0, when = 0, asked = 0;
    int status = 0;

    while (r->confirmed < wanted && status == 0) {
        while (asked < wanted && asked - r->confirmed < UNCONFIRMED_MAX && status == 0) {
            int64_t first = asked % each;
            int64_t most = each - first < TOGETHER_MAX ? each - first : TOGETHER_MAX;

            status = ask(&r->subscribers[asked / each], first, most);
            if (status < 0)
                buf_puts(err, "a subscriber could not ask: the connection was lost");
            asked += most;
        }
        if (status == 0)
            status = wait_for_progress(r, r->confirmed, &before, &when, err);
    }
    return status;
}
