#include "base/clock.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/bench_run.h"
#include "cli/bench_writer.h"
#include "cli/interrupt.h"

#include <string.h>

#define TABLE_ROWS 100000

/* Point SELECTs by rowid, if asked for beside writers. */
struct reads {
    struct bench_run *run;
    int readers;
    struct bench_http *http;
    struct bench_writer writer;
    struct buf sql;      /* the beginning of a request's body */
    uint64_t random;     /* xorshift's state; never 0 */
    int64_t wanted[512]; /* by connection: the row asked for */
    uint64_t requests, rows;
    double seconds;
};

static void put_select(void *ctx, int connection, int64_t from, struct buf *body)
{
    struct reads *r = ctx;

    (void)from;
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    r->wanted[connection] = (int64_t)(r->random % TABLE_ROWS) + 1;
    buf_put(body, r->sql.data, r->sql.len);
    buf_put_i64(body, r->wanted[connection]);
    buf_puts(body, "]}");
}

static bool selected(void *ctx, int connection, const char *body, size_t len, const char **why)
{
    struct reads *r = ctx;
    struct buf row = {0};
    bool right;

    buf_printf(
        &row, "[[%lld,%lld,\"", (long long)r->wanted[connection], (long long)r->wanted[connection]);
    right = buf_text(&row) && memmem(body, len, row.data, row.len);
    buf_fini(&row);
    if (!right)
        *why = "the answer has not the row that was asked for";
    return right;
}

/* Rows with k = id, none of which the writers' are. */
static int fill(struct bench_run *b)
{
    struct buf sql = {0};
    int status;

    buf_printf(&sql,
        "INSERT INTO %s(id, k, payload, at) WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL "
        "SELECT i + 1 FROM c WHERE i < %d) SELECT i, i, '",
        b->quoted.data, TABLE_ROWS);
    bench_put_payload(&sql, (int)b->o.payload);
    buf_puts(&sql, "', 0 FROM c");
    status = buf_text(&sql) ? bench_run_sql(b, sql.data) : STATUS_NOMEM;
    buf_fini(&sql);
    return status;
}

static int begin(struct reads *r)
{
    struct bench_run *b = r->run;
    struct bench_http_options o = {.address = b->address,
        .count = r->readers,
        .rate = b->o.rate,
        .most = b->o.requests,
        .put = put_select,
        .answered = selected,
        .ctx = r};
    struct buf sql = {0};
    int status = 0;

    buf_printf(&sql, "SELECT id, k, payload, at FROM %s WHERE id = ?", b->quoted.data);
    buf_puts(&r->sql, "{\"sql\":");
    buf_put_json(&r->sql, sql.data, sql.len);
    buf_puts(&r->sql, ",\"params\":[");
    buf_fini(&sql);
    r->http = bench_http_new(&o, &b->err);
    if (!r->http)
        return STATUS_IO;
    r->writer = (struct bench_writer){.table = b->quoted.data,
        .count = (int)b->o.writers,
        .rows = (int)b->o.rows,
        .payload = (int)b->o.payload,
        .address = b->address};
    if (b->o.writers)
        status = bench_writer_init(&r->writer, &b->err);
    return buf_error(&r->sql) ? STATUS_NOMEM : status;
}

static bool going(const struct reads *r)
{
    return !bench_http_ended(r->http) && !(r->writer.http && bench_http_ended(r->writer.http));
}

static int measure(struct reads *r)
{
    struct bench_run *b = r->run;
    uint64_t rows = r->writer.http ? bench_writer_rows(&r->writer) : 0;
    int64_t start = clock_mono_ns(), end = clock_mono_ms() + b->o.duration_ms;
    int status = bench_http_start(r->http, &b->err), stopped;

    if (status == 0 && r->writer.http)
        status = bench_http_start(r->writer.http, &b->err);
    while (status == 0 && clock_mono_ms() < end && going(r))
        if (interrupt_wait(end - clock_mono_ms() < 50 ? end - clock_mono_ms() : 50))
            break;
    r->seconds = (double)(clock_mono_ns() - start) / 1e9;
    stopped = bench_http_stop(r->http, &b->err);
    status = status ? status : stopped;
    if (r->writer.http) {
        stopped = bench_http_stop(r->writer.http, &b->err);
        status = status ? status : stopped;
        r->rows = bench_writer_rows(&r->writer) - rows;
    }
    r->requests = bench_http_requests(r->http);
    return status == STATUS_CLOSED ? 0 : status;
}

static int report(struct reads *r)
{
    struct bench_run *b = r->run;
    struct bench_result result = {
        .test = b->test, .good = true, .checked = "every answer had the row that was asked for"};
    int status;

    buf_printf(
        &result.title, "%s: %d connections that SELECT one row by its key", b->test, r->readers);
    if (b->o.writers)
        buf_printf(&result.title, ", beside %lld writer%s, %lld row%s per request",
            (long long)b->o.writers, b->o.writers == 1 ? "" : "s", (long long)b->o.rows,
            b->o.rows == 1 ? "" : "s");
    bench_result_parameter(&result, "readers", r->readers);
    bench_result_parameter(&result, "writers", (double)b->o.writers);
    bench_result_parameter(&result, "rowsPerRequest", (double)b->o.rows);
    bench_result_parameter(&result, "payload", (double)b->o.payload);
    bench_result_parameter(&result, "rate", (double)b->o.rate);
    bench_result_put(&result, (struct bench_figure){BENCH_RATE, NULL, "readsPerSecond", "reads",
                                  "per second", NULL, (double)r->requests / r->seconds, 0});
    bench_result_histogram(&result, "answerMs", "answers", bench_http_latency(r->http));
    if (b->o.writers)
        bench_result_put(
            &result, (struct bench_figure){BENCH_RATE, NULL, "writesPerSecond", "writes",
                         "rows per second", NULL, (double)r->rows / r->seconds, 0});
    status = bench_run_print(b, &result);
    bench_result_fini(&result);
    return status;
}

static int run_one(struct bench_run *b, int readers)
{
    struct reads r = {.run = b, .readers = readers, .random = random_u64() | 1};
    int status =
        bench_run_open(b, "(id INTEGER PRIMARY KEY, k INTEGER, payload TEXT, at INTEGER)", false);

    if (status < 0)
        return status;
    status = fill(b);
    if (status == 0)
        status = begin(&r);
    while (status == 0 && bench_run_round(b, NULL)) {
        status = measure(&r);
        if (status == 0)
            status = report(&r);
    }
    bench_http_free(r.http);
    bench_writer_fini(&r.writer);
    buf_fini(&r.sql);
    return bench_run_close(b, status);
}

int bench_reads_run(struct bench_run *b)
{
    static const int readers[] = {1, 8, 64};
    int status = 0;

    if (b->o.readers)
        return run_one(b, (int)b->o.readers);
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]) && status == 0; i++)
        if (!interrupt_seen())
            status = run_one(b, readers[i]);
    return status;
}
