#include "base/clock.h"
#include "base/text.h"
#include "capture/database.h"
#include "http/answer.h"
#include "http/route.h"
#include "hub/hub.h"

#include <math.h>
#include <string.h>

static int64_t uptime(const struct http *h)
{
    return (clock_mono_ms() - h->started_ms) / 1000;
}

/* The members of /health, without braces. */
static void put_health(struct buf *out, struct http *h, const struct hub_stats *s, bool ok)
{
    uint64_t journal_after;

    buf_printf(out, "\"status\":\"%s\",\"connectedClients\":", ok ? "ok" : "error");
    buf_put_u64(out, s->connections);
    buf_puts(out, ",\"uptime\":");
    buf_put_i64(out, uptime(h));
    buf_puts(out, ",\"version\":");
    buf_put_json_text(out, h->version);
    buf_puts(out, ",\"database\":{\"path\":");
    buf_put_json_text(out, database_path(h->db));
    buf_puts(out, ",\"journalMode\":");
    buf_put_json_text(out, database_journal_mode(h->db));
    buf_puts(out, ",\"externalWrites\":");
    buf_puts(out, database_external(h->db) ? "true" : "false");
    buf_puts(out, ",\"seq\":");
    buf_put_u64(out, database_seq(h->db));
    buf_puts(out, ",\"epoch\":");
    buf_put_json_text(out, database_epoch(h->db));
    buf_printf(out, "},\"history\":{\"bytes\":%llu,\"firstSeq\":%llu}",
        (unsigned long long)s->history_bytes, (unsigned long long)s->history_after + 1);
    if (database_past(h->db, &journal_after))
        buf_printf(out, ",\"journal\":{\"firstSeq\":%llu}", (unsigned long long)journal_after + 1);
}

void api_health(struct request *r, const char *rest)
{
    bool ok = database_ping(r->http->db) == 0;
    struct hub_stats s = {0};
    struct buf json = {0};

    (void)rest;
    hub_stats(r->http->hub, &s);
    buf_putc(&json, '{');
    put_health(&json, r->http, &s, ok);
    buf_putc(&json, '}');
    answer_json(r, ok ? 200 : 503, &json);
    buf_fini(&json);
}

static void put_traffic(struct buf *out, const struct hub_stats *s)
{
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        {"messagesReceived", s->messages_in},
        {"messagesSent", s->messages_out},
        {"bytesReceived", s->bytes_in},
        {"bytesSent", s->bytes_out},
        {"changesDelivered", s->deliveries},
        {"queuedBytes", s->queued_bytes},
        {"slowConsumersClosed", s->slow_closed},
        {"slowConsumersResynced", s->slow_resynced},
        {"captureGaps", s->gaps},
    };

    for (size_t i = 0; i < sizeof(counters) / sizeof(*counters); i++) {
        buf_printf(out, ",\"%s\":", counters[i].name);
        buf_put_u64(out, counters[i].value);
    }
    buf_printf(out, ",\"averageFrameSize\":{\"received\":%.1f,\"sent\":%.1f}",
        s->messages_in ? (double)s->bytes_in / (double)s->messages_in : 0.0,
        s->messages_out ? (double)s->bytes_out / (double)s->messages_out : 0.0);
    buf_printf(out, ",\"largestMessage\":{\"received\":%llu,\"sent\":%llu}",
        (unsigned long long)s->largest_in, (unsigned long long)s->largest_out);
}

/* A ratio of 0.25 says that a quarter of the bytes was sent. */
static void put_compression(struct buf *out, bool enabled, const struct hub_stats *s)
{
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        {"connections", s->deflating},
        {"messages", s->deflated_messages},
        {"bodies", s->deflated_bodies},
        {"bytesSaved", s->deflated_before - s->deflated_after},
        {"messagesReceived", s->inflated_messages},
        {"bytesReceived", s->inflated_before},
        {"bytesInflated", s->inflated_after},
    };

    buf_printf(out, ",\"compression\":{\"enabled\":%s,\"ratio\":%.3f", enabled ? "true" : "false",
        s->deflated_before ? (double)s->deflated_after / (double)s->deflated_before : 1.0);
    for (size_t i = 0; i < sizeof(counters) / sizeof(*counters); i++) {
        buf_printf(out, ",\"%s\":", counters[i].name);
        buf_put_u64(out, counters[i].value);
    }
    buf_putc(out, '}');
}

void api_websocket_health(struct request *r, const char *rest)
{
    bool ok = database_ping(r->http->db) == 0;
    struct hub_stats s = {0};
    struct buf json = {0};
    uint64_t unhealthy;

    (void)rest;
    hub_stats(r->http->hub, &s);
    unhealthy = s.unanswered < s.connections ? s.unanswered : s.connections;
    buf_putc(&json, '{');
    put_health(&json, r->http, &s, ok);
    buf_puts(&json, ",\"activeConnections\":");
    buf_put_u64(&json, s.connections);
    buf_puts(&json, ",\"healthyConnections\":");
    buf_put_u64(&json, s.connections - unhealthy);
    buf_puts(&json, ",\"unhealthyConnections\":");
    buf_put_u64(&json, unhealthy);
    buf_printf(&json, ",\"averageLatency\":%.3f", isfinite(s.latency_ms) ? s.latency_ms : 0.0);
    buf_puts(&json, ",\"subscriptions\":");
    buf_put_u64(&json, s.subscriptions);
    put_compression(&json, r->http->compress, &s);
    put_traffic(&json, &s);
    buf_putc(&json, '}');
    answer_json(r, ok ? 200 : 503, &json);
    buf_fini(&json);
}

void api_ws_status(struct request *r, const char *rest)
{
    struct hub_stats s = {0};
    struct buf json = {0};

    (void)rest;
    hub_stats(r->http->hub, &s);
    buf_puts(&json, "{\"connectedClients\":");
    buf_put_u64(&json, s.connections);
    buf_puts(&json, ",\"uptime\":");
    buf_put_i64(&json, uptime(r->http));
    buf_putc(&json, '}');
    answer_json(r, 200, &json);
    buf_fini(&json);
}
