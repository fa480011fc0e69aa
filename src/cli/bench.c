#include "cli/bench.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "cli/bench_past.h"
#include "cli/bench_reader.h"
#include "cli/bench_writer.h"
#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/term.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define WRITERS_MAX 256
#define SUBSCRIBERS_MAX 100000
#define SPARE_FILES 64
#define TIMEOUT_MS 60000
#define QUIET_MS 500
#define SETTLE_MS 5000 /* without a delivery, before what is missing counts as lost */

const struct option_row bench_option_rows[] = {
    TARGET_OPTIONS,
    {"writers", "N", "connections that insert; default 4", OPTION_NUMBER,
        offsetof(struct bench_options, writers), 1, WRITERS_MAX},
    {"subscribers", "N", "WebSocket subscribers; default 10, with --resume and --snapshot 1",
        OPTION_NUMBER, offsetof(struct bench_options, subscribers), 1, SUBSCRIBERS_MAX},
    {"seconds", "S", "how long to write; default 5", OPTION_DURATION,
        offsetof(struct bench_options, duration_ms), 100, 86400000},
    {"rows-per-request", "N", "rows of one INSERT; default 1, with --resume and --snapshot 100",
        OPTION_NUMBER, offsetof(struct bench_options, rows), 1, 1000},
    {"payload", "BYTES", "text in a row; default 43", OPTION_NUMBER,
        offsetof(struct bench_options, payload), 1, BENCH_PAYLOAD_MAX},
    {"rate", "N", "requests per second of all writers together; default: all that are answered",
        OPTION_NUMBER, offsetof(struct bench_options, rate), 1, 1000000},
    {"writes-only", NULL, "no subscribers", OPTION_FLAG,
        offsetof(struct bench_options, writes_only)},
    {"resume", "N", "read N changes that are past, from the earliest on", OPTION_NUMBER,
        offsetof(struct bench_options, resume), 1, 1000000000},
    {"snapshot", "N", "read a snapshot of N rows", OPTION_NUMBER,
        offsetof(struct bench_options, snapshot), 1, 1000000000},
    {"table", "NAME", "the table to create and use; default bench", OPTION_TEXT,
        offsetof(struct bench_options, table)},
    {"keep", NULL, "do not drop the table; --resume and --snapshot use it if it is there",
        OPTION_FLAG, offsetof(struct bench_options, keep)},
    {"format", "text|json", "how the result is printed", OPTION_CHOICE,
        offsetof(struct bench_options, format)},
    {NULL},
};

const char bench_help[] =
    "Measures a running server: writers insert into a table of their own, subscribers receive,\n"
    "and each delivery is checked. The latency is from before the request to the delivery. The\n"
    "load generator uses the same machine's processors, so the server alone can do more.\n"
    "With --rate a request counts from when it was due.\n"
    "\n"
    "With --resume or --snapshot rows are written first, then all subscribers read them at once.\n"
    "\n"
    "Examples:\n"
    "  rowtap bench\n"
    "  rowtap bench --writers 8 --subscribers 1000 --seconds 10 --format json\n"
    "  rowtap bench --rate 200 --writers 1 --subscribers 1\n"
    "  rowtap bench --resume 1000000 --subscribers 4\n";

struct bench {
    struct bench_options o;
    struct buf quoted; /* the table's name for SQL */
    struct client *client;
    struct bench_reader *reader;
    struct bench_writer *writers;
    int started;
    atomic_bool stop;
    uint64_t rows, requests, deliveries;
    double write_seconds, total_seconds;
    bool uncertain; /* rows were asked for that nobody acknowledged */
    bool complete;
    struct histogram answers;
    struct buf err;
};

static int request_sql(struct bench *b, const char *before, const char *after)
{
    struct buf sql = {0}, body = {0}, answer = {0};
    int status;

    buf_printf(&sql, "%s %s%s", before, buf_text(&b->quoted) ? b->quoted.data : "", after);
    buf_puts(&body, "{\"sql\":");
    buf_put_json_text(&body, buf_text(&sql));
    buf_putc(&body, '}');
    status = client_request(b->client, "/api/sql", &body, &answer, &b->err);
    if (status > 0 && status != 200)
        client_explain(b->client, status, &answer, NULL, &b->err);
    buf_fini(&sql);
    buf_fini(&body);
    buf_fini(&answer);
    return status == 200 ? 0 : STATUS_IO;
}

/* Enough descriptors for all subscribers, or a sentence that says what is missing. */
static int raise_files(struct bench *b)
{
    rlim_t wanted = (rlim_t)(b->o.subscribers + b->o.writers + SPARE_FILES);
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return 0;
    if (limit.rlim_max >= wanted) {
        limit.rlim_cur = limit.rlim_max;
        return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? 0 : STATUS_IO;
    }
    buf_printf(&b->err,
        "%lld subscribers need %llu open files, and only %llu are allowed; raise ulimit -n",
        (long long)b->o.subscribers, (unsigned long long)wanted,
        (unsigned long long)limit.rlim_max);
    return STATUS_TOO_LARGE;
}

static void quote(struct buf *out, const char *name)
{
    buf_putc(out, '"');
    for (; *name; name++)
        buf_puts(out, *name == '"' ? "\"\"" : (char[]){*name, '\0'});
    buf_putc(out, '"');
}

static int start_writers(struct bench *b)
{
    int64_t start = clock_mono_ns();
    int64_t interval = b->o.rate ? b->o.writers * 1000000000 / b->o.rate : 0;

    b->writers = mem_array((size_t)b->o.writers, sizeof(*b->writers));
    for (; b->writers && b->started < b->o.writers; b->started++) {
        struct bench_writer *w = &b->writers[b->started];

        w->target = b->o.target;
        w->table = b->quoted.data;
        w->number = b->started;
        w->rows = (int)b->o.rows;
        w->payload = (int)b->o.payload;
        w->interval = interval;
        w->due = start + interval * b->started / b->o.writers;
        w->stop = &b->stop;
        if (bench_writer_start(w) < 0)
            break;
    }
    if (b->started == b->o.writers)
        return 0;
    buf_puts(&b->err, "the writers cannot be started: out of memory");
    return STATUS_NOMEM;
}

static void join_writers(struct bench *b)
{
    atomic_store(&b->stop, true);
    for (int i = 0; i < b->started; i++) {
        struct bench_writer *w = &b->writers[i];

        bench_writer_join(w);
        b->rows += w->acknowledged;
        b->requests += w->requests;
        histogram_merge(&b->answers, &w->answers);
        b->uncertain = b->uncertain || w->sent != w->acknowledged;
        if (w->err.len && !b->err.len)
            buf_printf(&b->err, "writer %d: %s", i + 1, buf_text(&w->err) ? w->err.data : "");
    }
}

/*
 * A request that ^C cut off may have been committed or not, so then only silence tells that all has
 * arrived.
 */
static void wait_for_deliveries(struct bench *b)
{
    uint64_t wanted = b->rows * (uint64_t)b->o.subscribers, before = 0;
    int64_t progress = clock_mono_ms(), settle = b->uncertain ? QUIET_MS : SETTLE_MS;

    while (!bench_reader_failed(b->reader) && clock_mono_ms() - progress < settle) {
        uint64_t now = bench_reader_received(b->reader);

        if ((now >= wanted && !b->uncertain) || interrupt_wait(1))
            break;
        if (now != before)
            progress = clock_mono_ms();
        before = now;
    }
}

static int measure(struct bench *b)
{
    int64_t start = clock_mono_ns(), end = clock_mono_ms() + b->o.duration_ms;
    int status = bench_reader_start(b->reader);

    if (status == 0)
        status = start_writers(b);
    while (status == 0 && clock_mono_ms() < end && !bench_reader_failed(b->reader))
        if (interrupt_wait(end - clock_mono_ms() < 50 ? end - clock_mono_ms() : 50))
            break;
    join_writers(b);
    b->write_seconds = (double)(clock_mono_ns() - start) / 1e9;
    if (interrupt_seen())
        interrupt_clear();
    wait_for_deliveries(b);
    b->total_seconds = (double)(clock_mono_ns() - start) / 1e9;
    bench_reader_stop(b->reader);
    b->deliveries = bench_reader_received(b->reader);
    return b->err.len ? STATUS_IO : status;
}

static void check(struct bench *b)
{
    uint64_t acknowledged[WRITERS_MAX];

    for (int i = 0; i < b->started; i++)
        acknowledged[i] = b->writers[i].acknowledged;
    b->complete = bench_reader_check(b->reader, acknowledged, &b->err);
}

static const struct {
    const char *name;
    double part;
} percentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1.0}};

#define PERCENTILE_COUNT (sizeof(percentiles) / sizeof(percentiles[0]))

static void put_percentiles(struct buf *out, const char *name, const struct histogram *h)
{
    buf_printf(out, "%-12s", name);
    for (size_t i = 0; i < PERCENTILE_COUNT; i++)
        buf_printf(out, "%s%s %.2f ms", i ? "  " : "", percentiles[i].name,
            (double)histogram_at(h, percentiles[i].part) / 1e6);
    buf_putc(out, '\n');
}

static void put_text(struct buf *out, const struct bench *b)
{
    buf_printf(out, "%lld writers, %lld subscribers, %lld row%s per request\n",
        (long long)b->o.writers, (long long)b->o.subscribers, (long long)b->o.rows,
        b->o.rows == 1 ? "" : "s");
    buf_printf(out, "writes      %12.0f per second  (%llu rows in %llu requests, %.1f s)\n",
        (double)b->rows / b->write_seconds, (unsigned long long)b->rows,
        (unsigned long long)b->requests, b->write_seconds);
    put_percentiles(out, "answers", &b->answers);
    if (b->o.writes_only)
        return;
    buf_printf(out, "deliveries  %12.0f per second  (%llu in %.1f s)\n",
        (double)b->deliveries / b->total_seconds, (unsigned long long)b->deliveries,
        b->total_seconds);
    put_percentiles(out, "latency", bench_reader_latency(b->reader));
    buf_printf(out, "every change delivered once and in order: %s\n", b->complete ? "yes" : "no");
}

static void put_json_percentiles(struct buf *out, const char *name, const struct histogram *h)
{
    buf_printf(out, ",\"%s\":{", name);
    for (size_t i = 0; i < PERCENTILE_COUNT; i++)
        buf_printf(out, "%s\"%s\":%.3f", i ? "," : "", percentiles[i].name,
            (double)histogram_at(h, percentiles[i].part) / 1e6);
    buf_putc(out, '}');
}

static void put_json(struct buf *out, const struct bench *b)
{
    buf_printf(out,
        "{\"writers\":%lld,\"subscribers\":%lld,\"rowsPerRequest\":%lld,\"seconds\":%.3f,"
        "\"rows\":%llu,\"requests\":%llu,\"writesPerSecond\":%.1f,\"deliveries\":%llu,"
        "\"deliveriesPerSecond\":%.1f",
        (long long)b->o.writers, (long long)b->o.subscribers, (long long)b->o.rows,
        b->write_seconds, (unsigned long long)b->rows, (unsigned long long)b->requests,
        (double)b->rows / b->write_seconds, (unsigned long long)b->deliveries,
        (double)b->deliveries / b->total_seconds);
    put_json_percentiles(out, "answerMs", &b->answers);
    put_json_percentiles(out, "latencyMs", bench_reader_latency(b->reader));
    buf_printf(out, ",\"onceAndInOrder\":%s}\n", b->complete ? "true" : "false");
}

static bool of_past(const struct bench_options *o)
{
    return o->resume || o->snapshot;
}

static void set_defaults(struct bench_options *o)
{
    o->writers = o->writers ? o->writers : 4;
    o->subscribers = o->subscribers ? o->subscribers : of_past(o) ? 1 : 10;
    o->subscribers = o->writes_only ? 0 : o->subscribers;
    o->duration_ms = o->duration_ms ? o->duration_ms : 5000;
    o->rows = o->rows ? o->rows : of_past(o) ? 100 : 1;
    o->payload = o->payload ? o->payload : BENCH_PAYLOAD;
    o->table = o->table ? o->table : "bench";
}

/* With the table there. The result is printed even when something was wrong with it. */
static int run_with_table(struct bench *b)
{
    struct buf out = {0};
    int status;

    b->reader = bench_reader_new(
        &b->o.target, b->o.table, (int)b->o.subscribers, (int)b->o.writers, &b->err);
    if (!b->reader)
        return STATUS_IO;
    status = measure(b);
    check(b);
    if (b->o.format == 1)
        put_json(&out, b);
    else
        put_text(&out, b);
    if (term_flush(&out) == STATUS_IO || !b->complete)
        status = STATUS_IO;
    buf_fini(&out);
    return status;
}

static void put_past(struct buf *out, const struct bench_past *p, int format)
{
    const char *const what = p->snapshot ? "rows" : "changes";

    if (format == 1) {
        buf_printf(out,
            "{\"subscribers\":%lld,\"least\":%lld,\"most\":%lld,\"seconds\":%.3f,"
            "\"firstMs\":%.3f,\"perSecond\":%.1f,\"slowestPerSecond\":%.1f,"
            "\"fastestPerSecond\":%.1f,\"clientCpu\":%.3f}\n",
            (long long)p->subscribers, (long long)p->least, (long long)p->most, p->seconds,
            p->first_seconds * 1e3, (double)p->received / p->seconds, p->slowest, p->fastest,
            p->cpu_seconds / p->seconds);
        return;
    }
    buf_printf(out, "%lld subscribers, %lld %s each\n", (long long)p->subscribers,
        (long long)p->least, what);
    buf_printf(out, "all         %12.0f %s per second  (%.2f s)\n",
        (double)p->received / p->seconds, what, p->seconds);
    buf_printf(out, "each        %12.0f to %.0f per second, the first after %.1f ms\n", p->slowest,
        p->fastest, p->first_seconds * 1e3);
    buf_printf(out, "this client %11.0f%% of a processor\n", 100 * p->cpu_seconds / p->seconds);
}

/* With the table there. */
static int run_past(struct bench *b)
{
    struct bench_past p = {
        .target = b->o.target,
        .table = b->o.table,
        .quoted = b->quoted.data,
        .snapshot = b->o.snapshot,
        .wanted = b->o.snapshot ? b->o.snapshot : b->o.resume,
        .subscribers = b->o.subscribers,
        .rows = (int)b->o.rows,
        .payload = (int)b->o.payload,
    };
    struct buf out = {0};
    int status = bench_past_fill(&p, b->client, &b->err);

    if (status == 0)
        status = bench_past_read(&p, b->client, &b->err);
    if (status == 0) {
        put_past(&out, &p, b->o.format);
        status = term_flush(&out) == STATUS_IO ? STATUS_IO : 0;
    }
    buf_fini(&out);
    return status;
}

static int run(struct bench *b)
{
    bool past = of_past(&b->o);
    struct buf first = {0};
    int status = raise_files(b);

    quote(&b->quoted, b->o.table);
    b->client = status == 0 ? client_new(&b->o.target, TIMEOUT_MS, &b->err) : NULL;
    if (!b->client)
        return STATUS_IO;
    if (request_sql(b, past && b->o.keep ? "CREATE TABLE IF NOT EXISTS" : "CREATE TABLE",
            "(id INTEGER PRIMARY KEY, k INTEGER, payload TEXT, at INTEGER)") < 0)
        return STATUS_IO;
    status = past ? run_past(b) : run_with_table(b);
    interrupt_clear();
    if (!b->o.keep) {
        /* What was wrong before is the news; the table left behind comes second. */
        first = b->err;
        buf_init(&b->err, 0);
        if (request_sql(b, "DROP TABLE", "") < 0) {
            fprintf(stderr, "rowtap: table %s is left behind: %s\n", b->o.table,
                buf_text(&b->err) ? b->err.data : "");
            status = STATUS_IO;
        }
        buf_fini(&b->err);
        b->err = first;
    }
    return status;
}

int bench_run(const void *options, int argc, char **argv)
{
    struct bench b = {.o = *(const struct bench_options *)options};
    int status;

    (void)argc, (void)argv;
    if ((b.o.resume != 0) + (b.o.snapshot != 0) + b.o.writes_only > 1) {
        term_error("only one of --resume, --snapshot and --writes-only can be measured at a time");
        return 2;
    }
    set_defaults(&b.o);
    interrupt_catch();
    status = run(&b);
    if (b.err.len)
        term_error(buf_text(&b.err) ? buf_text(&b.err) : "out of memory");
    for (int i = 0; i < b.started; i++)
        buf_fini(&b.writers[i].err);
    mem_free(b.writers);
    bench_reader_free(b.reader);
    client_free(b.client);
    buf_fini(&b.quoted);
    buf_fini(&b.err);
    return status < 0;
}
