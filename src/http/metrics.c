#include "base/tally.h"
#include "capture/database.h"
#include "http/answer.h"
#include "http/auth.h"
#include "http/process.h"
#include "http/route.h"
#include "hub/hub.h"
#include "net/front.h"

#include <stddef.h>
#include <stdio.h>

/*
 * GET /metrics, in Prometheus' text format 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/): a metric's HELP and TYPE, then
 * its samples. Names end in their unit, and in _total where they only grow.
 */
struct figures {
    struct hub_stats hub;
    struct front_stats front; /* zeros without TLS */
    struct database_stats database;
    struct process process;
    uint64_t seq, uptime, swift;
};

/* The metrics that are one number. */
static const struct metric {
    const char *name, *type, *help;
    enum { INTEGER, REAL } kind;
    size_t offset;
} metrics_table[] = {
#define HUB(member) INTEGER, offsetof(struct figures, hub.member)
#define DATABASE(member) INTEGER, offsetof(struct figures, database.member)
#define PROCESS(kind, member) kind, offsetof(struct figures, process.member)
#define FRONT(member) INTEGER, offsetof(struct figures, front.member)
    {"rowtap_connections", "gauge", "Clients connected now: WebSockets and event streams.",
        HUB(connections)},
    {"rowtap_connections_accepted_total", "counter", "Clients that have connected.", HUB(accepted)},
    {"rowtap_connections_unanswered", "gauge",
        "Clients that have not answered a ping for half a heartbeat.", HUB(unanswered)},
    {"rowtap_tls_connections", "gauge", "Of the clients connected now, those with TLS.", HUB(tls)},
    {"rowtap_tls_http_connections", "gauge",
        "Connections with TLS that are still in HTTP, or in the handshake.", FRONT(connections)},
    {"rowtap_tls_handshakes_total", "counter", "TLS handshakes completed.", FRONT(handshakes)},
    {"rowtap_tls_resumed_total", "counter", "Of these, those that went on with a session.",
        FRONT(resumed)},
    {"rowtap_tls_failed_total", "counter", "TLS handshakes that failed.", FRONT(failed)},
    {"rowtap_tls_timed_out_total", "counter",
        "Connections given up in the TLS handshake or before a request, for the time it took.",
        FRONT(late)},
    {"rowtap_tls_dropped_total", "counter",
        "Connections given up there because there were too many.", FRONT(dropped)},
    {"rowtap_http_swift_total", "counter",
        "Of the HTTP requests, those that a thread for many connections has answered.", INTEGER,
        offsetof(struct figures, swift)},
    {"rowtap_subscriptions", "gauge", "Subscriptions to tables now.", HUB(subscriptions)},
    {"rowtap_queries_running", "gauge", "Queries of WebSocket clients under way now.",
        HUB(running_queries)},
    {"rowtap_messages_received_total", "counter", "Messages from clients.", HUB(messages_in)},
    {"rowtap_messages_sent_total", "counter", "Messages queued for clients.", HUB(messages_out)},
    {"rowtap_received_bytes_total", "counter", "Bytes from clients, with framing.", HUB(bytes_in)},
    {"rowtap_sent_bytes_total", "counter", "Bytes that clients' sockets have taken.",
        HUB(bytes_out)},
    {"rowtap_deflate_connections", "gauge", "Clients that take compressed messages.",
        HUB(deflating)},
    {"rowtap_deflated_messages_total", "counter", "Messages sent compressed.",
        HUB(deflated_messages)},
    {"rowtap_deflated_input_bytes_total", "counter", "Their payload before.", HUB(deflated_before)},
    {"rowtap_deflated_output_bytes_total", "counter", "Their payload as it was sent.",
        HUB(deflated_after)},
    {"rowtap_inflated_messages_total", "counter", "Messages that came compressed.",
        HUB(inflated_messages)},
    {"rowtap_inflated_input_bytes_total", "counter", "Their payload as it came.",
        HUB(inflated_before)},
    {"rowtap_inflated_output_bytes_total", "counter", "Their payload afterwards.",
        HUB(inflated_after)},
    {"rowtap_deliveries_total", "counter", "Changes queued for clients.", HUB(deliveries)},
    {"rowtap_slow_consumers_closed_total", "counter",
        "Clients closed because they read too slowly.", HUB(slow_closed)},
    {"rowtap_slow_consumers_resynced_total", "counter",
        "Times that what waited for a slow client was forgotten.", HUB(slow_resynced)},
    {"rowtap_send_queue_bytes", "gauge", "Bytes that wait for all clients now.", HUB(queued_bytes)},
    {"rowtap_batches_waiting", "gauge",
        "Batches of commits that the slowest loop has yet to deliver.", HUB(batches_waiting)},
    {"rowtap_backlog_bytes", "gauge", "Their size; past 64 MiB writers wait.", HUB(backlog_bytes)},
    {"rowtap_history_bytes", "gauge", "Changes kept in memory for clients that resume.",
        HUB(history_bytes)},
    {"rowtap_capture_gaps_total", "counter",
        "Times that changes of other processes could not be read.", HUB(gaps)},
    {"rowtap_changes_total", "counter", "Changes of rows and tables captured.", DATABASE(changes)},
    {"rowtap_group_commits_total", "counter", "COMMITs that requests have shared.",
        DATABASE(group_commits)},
    {"rowtap_statements_total", "counter", "SQL statements and read-only requests run.",
        DATABASE(statements)},
    {"rowtap_errors_total", "counter", "Requests to run SQL that failed.", DATABASE(errors)},
    {"rowtap_seq", "gauge", "Number of the last change.", INTEGER, offsetof(struct figures, seq)},
    {"rowtap_journal_bytes", "gauge", "Size of what the journal keeps.", DATABASE(journal_bytes)},
    {"rowtap_wal_bytes", "gauge", "Size of the -wal file.", DATABASE(wal_bytes)},
    {"rowtap_wal_restarts_total", "counter",
        "Times that the server has let the log begin from its start again.", DATABASE(restarts)},
    {"rowtap_uptime_seconds", "gauge", "Time since the start.", INTEGER,
        offsetof(struct figures, uptime)},
    {"process_cpu_seconds_total", "counter", "Processor time.", PROCESS(REAL, cpu_seconds)},
    {"process_start_time_seconds", "gauge", "When the process began, in seconds since 1970.",
        PROCESS(REAL, start_time)},
    {"process_resident_memory_bytes", "gauge", "Memory in use.", PROCESS(INTEGER, resident_bytes)},
    {"process_virtual_memory_bytes", "gauge", "Address space in use.",
        PROCESS(INTEGER, virtual_bytes)},
    {"process_open_fds", "gauge", "Open file descriptors.", PROCESS(INTEGER, open_files)},
    {"process_max_fds", "gauge", "Limit of open file descriptors.", PROCESS(INTEGER, max_files)},
    {"process_threads", "gauge", "Threads.", PROCESS(INTEGER, threads)},
#undef HUB
#undef DATABASE
#undef PROCESS
#undef FRONT
};

static void put_type(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value: with a backslash, quote or line's end escaped. */
static void put_label(struct buf *out, const char *value)
{
    for (; *value; value++) {
        if (*value == '\n')
            buf_puts(out, "\\n");
        else if (*value == '"' || *value == '\\')
            buf_printf(out, "\\%c", *value);
        else
            buf_putc(out, *value);
    }
}

static void put_count(struct buf *out, const char *name, const char *labels, uint64_t value)
{
    buf_printf(out, "%s%s ", name, labels);
    buf_put_u64(out, value);
    buf_putc(out, '\n');
}

static void put_simple(struct buf *out, const struct metric *m, const struct figures *f)
{
    const char *at = (const char *)f + m->offset;

    put_type(out, m->name, m->type, m->help);
    if (m->kind == REAL)
        buf_printf(out, "%s %.3f\n", m->name, *(const double *)(const void *)at);
    else
        put_count(out, m->name, "", *(const uint64_t *)(const void *)at);
}

/* `label` is "name=\"value\"" or "". */
static void put_histogram(struct buf *out, const char *name, const char *label,
    const struct tally_scale *scale, const struct tally_copy *t)
{
    const char *comma = *label ? "," : "";
    char braces[64] = "";
    uint64_t below = 0;

    for (int i = 0; i < scale->count; i++) {
        below += t->buckets[i];
        buf_printf(out, "%s_bucket{%s%sle=\"%.9g\"} ", name, label, comma,
            (double)scale->bounds[i] * scale->unit);
        buf_put_u64(out, below);
        buf_putc(out, '\n');
    }
    buf_printf(
        out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, label, comma, (unsigned long long)t->count);
    if (*label)
        snprintf(braces, sizeof(braces), "{%s}", label);
    buf_printf(out, "%s_sum%s %.9g\n", name, braces, (double)t->sum * scale->unit);
    buf_printf(out, "%s_count%s %llu\n", name, braces, (unsigned long long)t->count);
}

static void put_histograms(struct buf *out, struct request *r, const struct figures *f)
{
    struct tally_copy times = {0};

    put_type(out, "rowtap_match_duration_seconds", "histogram",
        "Time to find the subscriptions that want a row's change, of one change in 16.");
    put_histogram(out, "rowtap_match_duration_seconds", "", &tally_moments, &f->hub.match_times);
    put_type(out, "rowtap_delivery_delay_seconds", "histogram",
        "Time from a commit until a loop has queued it for its clients.");
    put_histogram(out, "rowtap_delivery_delay_seconds", "", &tally_durations, &f->hub.delays);
    put_type(out, "rowtap_fanout_duration_seconds", "histogram",
        "Time to match a batch of commits and queue it for the clients of one loop.");
    put_histogram(
        out, "rowtap_fanout_duration_seconds", "", &tally_durations, &f->hub.fanout_times);
    put_type(
        out, "rowtap_commit_duration_seconds", "histogram", "Time of a COMMIT, with the journal.");
    put_histogram(
        out, "rowtap_commit_duration_seconds", "", &tally_durations, &f->database.commit_times);
    put_type(out, "rowtap_group_commit_requests", "histogram", "Requests that shared a COMMIT.");
    put_histogram(out, "rowtap_group_commit_requests", "", &tally_counts, &f->database.group_sizes);
    put_type(out, "rowtap_query_duration_seconds", "histogram",
        "Time that requests to run SQL ran, without waiting for others.");
    put_histogram(out, "rowtap_query_duration_seconds", "kind=\"read\"", &tally_durations,
        &f->database.reads);
    put_histogram(out, "rowtap_query_duration_seconds", "kind=\"write\"", &tally_durations,
        &f->database.writes);
    put_type(out, "rowtap_client_queue_bytes", "histogram",
        "What waited for a client when it was its turn to be sent some.");
    put_histogram(out, "rowtap_client_queue_bytes", "", &tally_bytes, &f->hub.queues);
    tally_read(&r->http->stats.times, &times);
    put_type(out, "rowtap_http_request_duration_seconds", "histogram",
        "Time from a request's head to the end of its answer.");
    put_histogram(out, "rowtap_http_request_duration_seconds", "", &tally_durations, &times);
}

static void put_labelled(struct buf *out, const struct request *r, const struct figures *f)
{
    char label[32];

    put_type(out, "rowtap_connections_closed_total", "counter",
        "Clients that have gone, by close code.");
    for (int i = 0; i < HUB_CODES; i++) {
        snprintf(label, sizeof(label), hub_codes[i] ? "{code=\"%d\"}" : "{code=\"other\"}",
            hub_codes[i]);
        put_count(out, "rowtap_connections_closed_total", label, f->hub.closed_by_code[i]);
    }
    put_type(out, "rowtap_transactions_total", "counter",
        "Transactions captured, by who committed them.");
    put_count(out, "rowtap_transactions_total", "{source=\"server\"}", f->database.own);
    put_count(out, "rowtap_transactions_total", "{source=\"external\"}", f->database.external);
    put_type(out, "rowtap_http_requests_total", "counter", "HTTP requests answered, by status.");
    for (int i = 0; i < REQUEST_STATUSES; i++) {
        uint64_t n = atomic_load_explicit(&r->http->stats.by_status[i], memory_order_relaxed);

        snprintf(label, sizeof(label), "{code=\"%d\"}", i + 100);
        if (n || i + 100 == 200)
            put_count(out, "rowtap_http_requests_total", label, n);
    }
    put_type(out, "rowtap_build_info", "gauge", "Always 1.");
    buf_puts(out, "rowtap_build_info{version=\"");
    put_label(out, hub_settings(r->http->hub)->version);
    buf_puts(out, "\",sqlite=\"");
    put_label(out, database_sqlite_version());
    buf_puts(out, "\"} 1\n");
}

static void read_figures(struct figures *f, const struct http *h)
{
    hub_stats(h->hub, &f->hub);
    database_stats(h->db, &f->database);
    process_read(&f->process);
    f->front = (struct front_stats){0};
    if (h->front)
        front_stats(h->front, &f->front);
    f->swift = atomic_load_explicit(&h->stats.swift, memory_order_relaxed);
    f->seq = database_seq(h->db);
    f->uptime = (double)hub_uptime(h->hub);
}

void metrics(struct request *r, const char *rest)
{
    struct figures f;
    struct buf out = {0};

    (void)rest;
    if (!auth_known(r))
        return;
    read_figures(&f, r->http);
    for (size_t i = 0; i < sizeof(metrics_table) / sizeof(*metrics_table); i++)
        put_simple(&out, &metrics_table[i], &f);
    put_labelled(&out, r, &f);
    put_histograms(&out, r, &f);
    if (buf_error(&out))
        answer_json(r, 503, &out);
    else
        answer(r, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, out.data, out.len);
    buf_fini(&out);
}
