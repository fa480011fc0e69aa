#include "base/clock.h"
#include "base/status.h"
#include "net/private.h"

#include <stdio.h>
#include <string.h>

/*
 * Each connection is looked at every half heartbeat, from one list ordered by time, which is the
 * order in which they were last looked at. Every other time it is pinged, or ended when nothing at
 * all has arrived since the last ping; in between, a missing answer is counted for the statistics.
 * On a stream the ping is its text to keep alive, and that the socket has taken it is the answer.
 */
static void again(struct conn *c)
{
    struct loop *l = c->loop;

    list_del(&c->timer);
    c->due = l->half_ms ? l->now + l->half_ms : INT64_MAX;
    list_add_tail(&l->idle, &c->timer);
}

/* Each is looked at four times in idle_ms, so that a message costs no more than a note of its time.
 */
static void look_later(struct conn *c)
{
    struct loop *l = c->loop;

    c->quiet_due = (uint32_t)(l->now + l->options.idle_ms / 4 + 1);
    list_del(&c->quiet);
    list_add_tail(&l->quiet, &c->quiet);
}

int64_t heartbeat_quiet_at(const struct conn *c)
{
    return c->loop->now + (int32_t)(c->quiet_due - (uint32_t)c->loop->now);
}

void heartbeat_start(struct conn *c)
{
    c->half = true;
    again(c);
    c->active_ms = (uint32_t)c->loop->now;
    if (c->loop->options.idle_ms && !conn_is_stream(c))
        look_later(c);
}

void heartbeat_quiet_due(struct conn *c)
{
    struct loop *l = c->loop;
    char reason[100];

    if ((uint32_t)l->now - c->active_ms < l->options.idle_ms) {
        look_later(c);
        return;
    }
    list_del(&c->quiet);
    snprintf(reason, sizeof(reason), "idle: no message for %lld ms", (long long)l->options.idle_ms);
    conn_close(c, WS_CLOSE_GOING_AWAY, reason);
}

static int put_keep_alive(struct conn *c)
{
    struct buf text = {0};
    int rc;

    c->ops->keep_alive(c->owner, &text);
    rc = text.len || text.err ? buf_error(&text) : STATUS_CLOSED;
    if (!rc)
        rc = outq_put(&c->out, &c->loop->pool, NULL, 0, text.data, text.len, NULL, false);
    conn_touch(c);
    buf_fini(&text);
    return rc;
}

static int put_ping(struct conn *c)
{
    if (conn_is_stream(c))
        return put_keep_alive(c);
    c->ping_ns = clock_mono_ns();
    return conn_put_control(c, WS_PING, &c->ping_ns, sizeof(c->ping_ns));
}

static void ping(struct conn *c)
{
    if (put_ping(c))
        return; /* the next time, perhaps */
    c->ping_ms = (uint32_t)c->loop->now;
    c->ping_ahead = c->out.bytes;
    c->unanswered = true;
}

void heartbeat_due(struct conn *c)
{
    struct loop *l = c->loop;
    bool half = c->half;

    c->half = !half;
    again(c);
    if (half) {
        if (c->unanswered && !c->late) {
            c->late = true;
            loop_count(&l->counters.unanswered, 1);
        }
    } else if (!c->unanswered) {
        ping(c);
    } else if ((uint32_t)l->now - c->ping_ms >= 2 * l->half_ms) {
        outq_drop(&c->out, &l->pool);
        conn_notes_lost(c);
        conn_fail(c, WS_CLOSE_GOING_AWAY, "no answer to a ping");
    }
}

void heartbeat_arrived(struct conn *c)
{
    c->unanswered = false;
    if (c->late) {
        c->late = false;
        loop_count(&c->loop->counters.unanswered, -(uint64_t)1);
    }
}

/* A ping behind much else cannot be answered yet; as long as the queue moves, the peer lives. */
void heartbeat_sent(struct conn *c, size_t n)
{
    if (c->ping_ahead == 0 || n == 0)
        return;
    c->ping_ms = (uint32_t)c->loop->now;
    c->ping_ahead -= n < c->ping_ahead ? n : c->ping_ahead;
    if (conn_is_stream(c) && !c->ping_ahead)
        heartbeat_arrived(c);
}

static void set_latency(struct conn *c, int64_t us)
{
    struct loop_counters *counters = &c->loop->counters;

    if (c->latency_us >= 0) {
        loop_count(&counters->latency_total_us, -(uint64_t)c->latency_us);
        loop_count(&counters->latency_count, -(uint64_t)1);
    }
    if (us > INT32_MAX)
        us = INT32_MAX;
    c->latency_us = (int32_t)us;
    if (us >= 0) {
        loop_count(&counters->latency_total_us, (uint64_t)us);
        loop_count(&counters->latency_count, 1);
    }
}

void heartbeat_pong(struct conn *c, const char *data, size_t len)
{
    if (c->ping_ns == 0 || len != sizeof(c->ping_ns) || memcmp(data, &c->ping_ns, len))
        return;
    set_latency(c, (clock_mono_ns() - c->ping_ns) / 1000);
    c->ping_ns = 0;
}

void heartbeat_stop(struct conn *c)
{
    heartbeat_arrived(c);
    set_latency(c, -1);
}
