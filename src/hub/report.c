#include "hub/report.h"

#include "access/grant.h"
#include "base/clock.h"
#include "base/status.h"
#include "capture/database.h"

#include <math.h>

static void put_database(struct buf *out, struct database *db)
{
    buf_puts(out, "\"database\":{\"path\":");
    buf_put_json_text(out, database_path(db));
    buf_puts(out, ",\"journalMode\":");
    buf_put_json_text(out, database_journal_mode(db));
    buf_puts(out, ",\"externalWrites\":");
    buf_puts(out, database_external(db) ? "true" : "false");
    buf_puts(out, ",\"seq\":");
    buf_put_u64(out, database_seq(db));
    buf_puts(out, ",\"epoch\":");
    buf_put_json_text(out, database_epoch(db));
    buf_putc(out, '}');
}

/* The members of /health, without braces. */
static void put_health(struct buf *out, struct hub *h, const struct hub_stats *s, bool ok)
{
    const struct hub_options *o = hub_settings(h);
    uint64_t journal_after;

    buf_printf(out, "\"status\":\"%s\",\"connectedClients\":", ok ? "ok" : "error");
    buf_put_u64(out, s->connections);
    buf_puts(out, ",\"uptime\":");
    buf_put_i64(out, hub_uptime(h));
    buf_puts(out, ",\"runningQueries\":");
    buf_put_u64(out, s->running_queries);
    buf_puts(out, ",\"version\":");
    buf_put_json_text(out, o->version);
    buf_putc(out, ',');
    put_database(out, o->db);
    buf_printf(out, ",\"history\":{\"bytes\":%llu,\"firstSeq\":%llu}",
        (unsigned long long)s->history_bytes, (unsigned long long)s->history_after + 1);
    if (database_past(o->db, &journal_after))
        buf_printf(out, ",\"journal\":{\"firstSeq\":%llu}", (unsigned long long)journal_after + 1);
}

void report_health(struct buf *out, struct hub *h, bool ok)
{
    struct hub_stats s;

    hub_stats(h, &s);
    buf_putc(out, '{');
    put_health(out, h, &s, ok);
    buf_putc(out, '}');
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

void report_websocket_health(struct buf *out, struct hub *h, bool ok)
{
    struct hub_stats s;
    uint64_t unhealthy;

    hub_stats(h, &s);
    unhealthy = s.unanswered < s.connections ? s.unanswered : s.connections;
    buf_putc(out, '{');
    put_health(out, h, &s, ok);
    buf_puts(out, ",\"activeConnections\":");
    buf_put_u64(out, s.connections);
    buf_puts(out, ",\"healthyConnections\":");
    buf_put_u64(out, s.connections - unhealthy);
    buf_puts(out, ",\"unhealthyConnections\":");
    buf_put_u64(out, unhealthy);
    buf_printf(out, ",\"averageLatency\":%.3f", isfinite(s.latency_ms) ? s.latency_ms : 0.0);
    buf_puts(out, ",\"subscriptions\":");
    buf_put_u64(out, s.subscriptions);
    put_compression(out, hub_settings(h)->compress, &s);
    put_traffic(out, &s);
    buf_putc(out, '}');
}

void report_status(struct buf *out, struct hub *h)
{
    struct hub_stats s;

    hub_stats(h, &s);
    buf_puts(out, "{\"connectedClients\":");
    buf_put_u64(out, s.connections);
    buf_puts(out, ",\"uptime\":");
    buf_put_i64(out, hub_uptime(h));
    buf_putc(out, '}');
}

void report_realtime(struct buf *out, const char *ws_url, const char *user_id)
{
    buf_puts(out, "{\"status\":\"ready\",\"wsUrl\":");
    buf_put_json_text(out, ws_url);
    buf_puts(out, ",\"userId\":");
    buf_put_json_text(out, user_id);
    buf_puts(out, ",\"timestamp\":");
    buf_put_i64(out, clock_wall_ms());
    buf_putc(out, '}');
}

/* Adds one, after `comma`; false: it is not to be seen. */
static bool put_table(struct buf *out, const char *comma, const struct table *t,
    const struct policy *policy, const struct identity *who)
{
    struct grant g;
    int status = t->internal ? STATUS_NOT_FOUND : grant_init(&g, policy, who, t);

    if (status == STATUS_NOMEM)
        out->err = status;
    if (status < 0)
        return status == STATUS_NOMEM;
    buf_puts(out, comma);
    table_put_some_json(out, t, g.columns);
    grant_fini(&g);
    return true;
}

void report_tables(struct buf *out, const struct schema *schema, const struct policy *policy,
    const struct identity *who)
{
    bool any = false;

    buf_puts(out, "{\"tables\":[");
    for (int i = 0; i < schema->table_count; i++)
        any |= put_table(out, any ? "," : "", schema->tables[i], policy, who);
    buf_puts(out, "]}");
}

bool report_table(struct buf *out, const struct schema *schema, const struct policy *policy,
    const struct identity *who, const char *name, size_t len)
{
    const struct table *t = schema_find(schema, name, len);

    return t && put_table(out, "", t, policy, who);
}
