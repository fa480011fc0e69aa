#include "base/clock.h"
#include "base/status.h"
#include "cli/bench_run.h"
#include "cli/bench_writer.h"
#include "cli/interrupt.h"

#define SETTLE_MS 500 /* until the server's memory is what it stays */
#define WAIT_MS 10000

struct found {
    double connect_seconds, subscribe_seconds;
    struct bench_cost before, after;
    bool cost_known, complete;
};

/* One row, which each has to get. */
static bool check(struct bench_run *b, struct bench_reader *reader)
{
    const uint64_t one = 1;
    int64_t end = clock_mono_ms() + WAIT_MS;
    struct buf sql = {0};
    int status = bench_reader_start(reader);

    buf_printf(&sql, "INSERT INTO %s(k, payload, at) VALUES (1, '', %lld)", b->quoted.data,
        (long long)clock_mono_ns());
    if (status == 0)
        status = buf_text(&sql) ? bench_run_sql(b, sql.data) : STATUS_NOMEM;
    while (status == 0 && bench_reader_received(reader) < (uint64_t)b->o.subscribers &&
           !bench_reader_failed(reader) && clock_mono_ms() < end)
        if (interrupt_wait(1))
            break;
    bench_reader_stop(reader);
    buf_fini(&sql);
    return status == 0 && bench_reader_check(reader, &one, &b->err);
}

static int measure(struct bench_run *b, struct found *f)
{
    struct bench_reader_options o = {.address = b->address,
        .speech = b->o.speech ? b->o.speech : &bench_speech_native,
        .table = b->o.table,
        .writers = 1,
        .spread.subscribers = b->o.subscribers};
    struct bench_reader *reader = bench_reader_new(&o, &b->err);
    int64_t start;
    int status;

    if (!reader)
        return STATUS_IO;
    f->cost_known = bench_run_cost(b, &f->before);
    start = clock_mono_ns();
    status = bench_reader_connect(reader, &b->err);
    f->connect_seconds = (double)(clock_mono_ns() - start) / 1e9;
    start = clock_mono_ns();
    if (status == 0)
        status = bench_reader_subscribe(reader, &b->err);
    f->subscribe_seconds = (double)(clock_mono_ns() - start) / 1e9;
    interrupt_wait(SETTLE_MS);
    f->cost_known = f->cost_known && bench_run_cost(b, &f->after);
    f->complete = status == 0 && check(b, reader);
    bench_reader_free(reader);
    return status;
}

static int report(struct bench_run *b, const struct found *f)
{
    struct bench_result r = {
        .test = b->test, .good = f->complete, .checked = "every connection got one change"};
    double n = (double)b->o.subscribers;
    int status;

    buf_printf(&r.title, "%s: %lld connections, one subscription each", b->test,
        (long long)b->o.subscribers);
    bench_result_parameter(&r, "subscribers", n);
    bench_result_put(
        &r, (struct bench_figure){BENCH_RATE, NULL, "connectionsPerSecond", "connections",
                "per second, from connecting to the greeting", NULL, n / f->connect_seconds, 0});
    bench_result_put(&r, (struct bench_figure){BENCH_RATE, NULL, "subscribesPerSecond",
                             "subscribes", "per second", NULL, n / f->subscribe_seconds, 0});
    if (f->cost_known) {
        bench_result_put(&r, (struct bench_figure){BENCH_COST, NULL, "bytesPerConnection", "memory",
                                 "bytes of the server's per idle connection", NULL,
                                 (f->after.bytes - f->before.bytes) / n, 0});
        bench_result_put(&r, (struct bench_figure){BENCH_COST, NULL, "serverMicrosPerConnection",
                                 "server", "µs of processor per connection", NULL,
                                 (f->after.cpu_seconds - f->before.cpu_seconds) * 1e6 / n, 1});
    }
    status = bench_run_print(b, &r);
    bench_result_fini(&r);
    return status;
}

int bench_connect_run(struct bench_run *b)
{
    struct found f = {0};
    int status;

    if (bench_run_open(b, "(id INTEGER PRIMARY KEY, k INTEGER, payload TEXT, at INTEGER)", false) <
        0)
        return STATUS_IO;
    status = measure(b, &f);
    if (status == 0)
        status = report(b, &f);
    return bench_run_close(b, status);
}
