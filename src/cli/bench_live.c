#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
#include "cli/bench_run.h"
#include "cli/bench_writer.h"
#include "cli/interrupt.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define TURN_MS 5
#define QUIET_MS 500
#define SETTLE_MS 5000 /* without a delivery, before what is missing counts as lost */

/* Between the beginning and the end of one test, over all its rounds. */
struct live {
    struct bench_run *run;
    struct bench_spread spread;
    struct bench_reader *reader;
    struct bench_writer writer;
    double subscription_bytes; /* of the server's memory; 0: not known */
    /* With --spin one thread does all, and never sleeps. */
    pthread_t spinner;
    atomic_bool stop, requesting;
};

struct round {
    uint64_t rows, requests, deliveries;
    double write_seconds, total_seconds, cpu_seconds;
    struct bench_cost before, after;
    bool cost_known, complete;
};

static void wait_for_deliveries(struct live *l)
{
    uint64_t wanted = bench_reader_due(l->reader, l->writer.acknowledged), before = 0;
    bool uncertain = bench_writer_uncertain(&l->writer);
    int64_t progress = clock_mono_ms(), settle = uncertain ? QUIET_MS : SETTLE_MS;

    while (!bench_reader_failed(l->reader) && clock_mono_ms() - progress < settle) {
        uint64_t now = bench_reader_received(l->reader);

        /* What ^C cut off may have been committed or not: then only silence tells. */
        if ((now >= wanted && !uncertain) || interrupt_wait(1))
            break;
        if (now != before)
            progress = clock_mono_ms();
        before = now;
    }
}

static int write_rows(struct live *l)
{
    struct bench_run *b = l->run;
    int64_t end = clock_mono_ms() + b->o.duration_ms;
    int status = bench_http_start(l->writer.http, &b->err);

    if (status == 0)
        atomic_store(&l->requesting, true);
    while (status == 0 && clock_mono_ms() < end && !bench_reader_failed(l->reader) &&
           !bench_http_ended(l->writer.http))
        if (interrupt_wait(end - clock_mono_ms() < TURN_MS ? end - clock_mono_ms() : TURN_MS))
            break;
    if (status == 0)
        status = bench_http_stop(l->writer.http, &b->err);
    return status == STATUS_CLOSED ? 0 : status;
}

static void *spin(void *ctx)
{
    struct live *l = ctx;

    while (!atomic_load(&l->stop)) {
        bench_reader_turn(l->reader);
        if (atomic_load(&l->requesting) && !bench_http_turn(l->writer.http))
            atomic_store(&l->requesting, false);
    }
    return NULL;
}

static int start_reading(struct live *l)
{
    if (!l->run->o.spin)
        return bench_reader_start(l->reader);
    bench_reader_begin(l->reader);
    atomic_store(&l->stop, false);
    atomic_store(&l->requesting, false);
    return thread_start(&l->spinner, NULL, spin, l, "spinner") ? STATUS_NOMEM : 0;
}

static void stop_reading(struct live *l)
{
    if (!l->run->o.spin) {
        bench_reader_stop(l->reader);
        return;
    }
    atomic_store(&l->stop, true);
    pthread_join(l->spinner, NULL);
}

static int measure(struct live *l, struct round *r)
{
    struct bench_run *b = l->run;
    uint64_t rows = bench_writer_rows(&l->writer), received = bench_reader_received(l->reader);
    double cpu = bench_run_cpu_seconds();
    int64_t start;
    int status;

    r->cost_known = bench_run_cost(b, &r->before);
    start = clock_mono_ns();
    status = start_reading(l);
    if (status < 0) {
        buf_puts(&b->err, "out of memory");
        return status;
    }
    status = write_rows(l);
    r->write_seconds = (double)(clock_mono_ns() - start) / 1e9;
    interrupt_clear();
    wait_for_deliveries(l);
    r->total_seconds = (double)(clock_mono_ns() - start) / 1e9;
    stop_reading(l);
    r->cpu_seconds = bench_run_cpu_seconds() - cpu;
    r->cost_known = r->cost_known && bench_run_cost(b, &r->after);
    r->rows = bench_writer_rows(&l->writer) - rows;
    r->requests = bench_http_requests(l->writer.http);
    r->deliveries = bench_reader_received(l->reader) - received;
    r->complete = status == 0 && bench_reader_check(l->reader, l->writer.acknowledged, &b->err);
    return status;
}

/* The result. */

static const char *const filters[] = {"none", "equal", "range", "in"};

static void put_title(const struct live *l, struct bench_result *r)
{
    const struct bench_options *o = &l->run->o;

    buf_printf(&r->title, "%s: %lld writer%s, %lld subscribers, %lld row%s per request", r->test,
        (long long)o->writers, o->writers == 1 ? "" : "s", (long long)o->subscribers,
        (long long)o->rows, o->rows == 1 ? "" : "s");
    if (o->rate)
        buf_printf(&r->title, ", %lld requests per second", (long long)o->rate);
    if (o->pipeline)
        buf_printf(&r->title, ", %lld of each writer under way", (long long)o->pipeline);
    if (o->spin)
        buf_puts(&r->title, ", without sleep");
    if (l->spread.filter != BENCH_ALL)
        buf_printf(&r->title, ", %lld subscriptions (%s), of which %lld match",
            (long long)l->spread.subscriptions, filters[l->spread.filter],
            (long long)l->spread.matching);
}

static void put_parameters(const struct live *l, struct bench_result *r)
{
    const struct bench_options *o = &l->run->o;

    bench_result_parameter(r, "writers", (double)o->writers);
    bench_result_parameter(r, "subscribers", (double)o->subscribers);
    bench_result_parameter(r, "rowsPerRequest", (double)o->rows);
    bench_result_parameter(r, "payload", (double)o->payload);
    bench_result_parameter(r, "rate", (double)o->rate);
    bench_result_parameter(r, "pipeline", (double)o->pipeline);
    bench_result_parameter(r, "spin", o->spin);
    bench_result_put(
        r, (struct bench_figure){
               .kind = BENCH_PARAMETER, .name = "filter", .word = filters[l->spread.filter]});
    if (l->spread.filter != BENCH_ALL) {
        bench_result_parameter(r, "subscriptions", (double)l->spread.subscriptions);
        bench_result_parameter(r, "matching", (double)l->spread.matching);
    }
}

static void put_fact(
    struct bench_result *r, const char *name, const char *label, const char *unit, double value)
{
    bench_result_put(r, (struct bench_figure){.kind = BENCH_FACT,
                            .name = name,
                            .label = label,
                            .unit = unit,
                            .value = value,
                            .digits = value < 1000 && unit ? 2 : 0});
}

static void put_figures(const struct live *l, const struct round *n, struct bench_result *r)
{
    double cpu = (n->after.cpu_seconds - n->before.cpu_seconds) * 1e6;

    put_fact(r, "seconds", NULL, "s", n->write_seconds);
    put_fact(r, "rows", NULL, NULL, (double)n->rows);
    put_fact(r, "requests", NULL, NULL, (double)n->requests);
    bench_result_put(r, (struct bench_figure){BENCH_RATE, NULL, "writesPerSecond", "writes",
                            "rows per second", NULL, (double)n->rows / n->write_seconds, 0});
    bench_result_histogram(r, "answerMs", "answers", bench_http_latency(l->writer.http));
    if (n->cost_known && n->rows)
        bench_result_put(r, (struct bench_figure){BENCH_COST, NULL, "serverMicrosPerRow", "server",
                                "µs of processor per row", NULL, cpu / (double)n->rows, 3});
    put_fact(r, "clientCpu", "this client", "processors", n->cpu_seconds / n->total_seconds);
    if (!l->run->o.subscribers)
        return;
    put_fact(r, "deliveries", NULL, NULL, (double)n->deliveries);
    bench_result_put(r, (struct bench_figure){BENCH_RATE, NULL, "deliveriesPerSecond", "deliveries",
                            "per second", NULL, (double)n->deliveries / n->total_seconds, 0});
    bench_result_histogram(r, "latencyMs", "latency", bench_reader_latency(l->reader));
    if (n->cost_known && n->deliveries)
        bench_result_put(
            r, (struct bench_figure){BENCH_COST, NULL, "serverMicrosPerDelivery", "server",
                   "µs of processor per delivery", NULL, cpu / (double)n->deliveries, 3});
    if (l->subscription_bytes != 0)
        bench_result_put(
            r, (struct bench_figure){BENCH_COST, NULL, "bytesPerSubscription", "memory",
                   "bytes of the server's per subscription", NULL, l->subscription_bytes, 0});
}

static int report(struct live *l, const struct round *n)
{
    struct bench_result r = {.test = l->run->test, .good = n->complete};
    int status;

    r.checked = l->run->o.subscribers ? "every change delivered once and in order"
                                      : "every request answered";
    put_title(l, &r);
    put_parameters(l, &r);
    put_figures(l, n, &r);
    status = bench_run_print(l->run, &r);
    bench_result_fini(&r);
    return status;
}

/* Beginning and end. */

static int subscribe(struct live *l)
{
    struct bench_run *b = l->run;
    struct bench_reader_options o = {b->address, b->o.speech ? b->o.speech : &bench_speech_native,
        b->o.table, (int)b->o.writers, l->spread};
    struct bench_cost before, after;
    bool known;
    int status;

    l->reader = bench_reader_new(&o, &b->err);
    if (!l->reader)
        return STATUS_IO;
    status = bench_reader_connect(l->reader, &b->err);
    if (status < 0)
        return status;
    known = l->spread.filter != BENCH_ALL && bench_run_cost(b, &before);
    status = bench_reader_subscribe(l->reader, &b->err);
    if (status == 0 && known && bench_run_cost(b, &after))
        l->subscription_bytes = (after.bytes - before.bytes) / (double)l->spread.subscriptions;
    return status;
}

static int begin(struct live *l)
{
    struct bench_run *b = l->run;
    int status;

    l->writer = (struct bench_writer){
        .table = b->quoted.data,
        .count = (int)b->o.writers,
        .rows = (int)b->o.rows,
        .payload = (int)b->o.payload,
        .rate = b->o.rate,
        .most = b->o.requests,
        .by_turns = b->o.spin,
        .pipeline = (int)b->o.pipeline,
        .address = b->address,
        .spread = l->spread,
    };
    status = subscribe(l);
    if (status == 0)
        status = bench_writer_init(&l->writer, &b->err);
    return status;
}

static int all_rounds(struct live *l)
{
    int status = 0;

    while (status == 0 && bench_run_round(l->run, l->reader)) {
        struct round r = {0};

        status = measure(l, &r);
        /* The result is printed even when something was wrong with it. */
        if (r.total_seconds > 0 && report(l, &r) < 0)
            status = STATUS_IO;
        if (!r.complete)
            status = STATUS_IO;
    }
    return status;
}

int bench_live_run(struct bench_run *b)
{
    struct live l = {.run = b,
        .spread = {.filter = (enum bench_filter)b->o.filter,
            .subscribers = b->o.subscribers,
            .subscriptions = b->o.subscriptions,
            .matching = b->o.matching}};
    int status = bench_spread_settle(&l.spread, &b->err);

    if (status < 0)
        return status;
    if (bench_run_open(b,
            l.spread.filter == BENCH_ALL
                ? "(id INTEGER PRIMARY KEY, k INTEGER, payload TEXT, at INTEGER)"
                : "(id INTEGER PRIMARY KEY, k INTEGER, payload TEXT, at INTEGER, v INTEGER)",
            false) < 0)
        return STATUS_IO;
    status = begin(&l);
    if (status == 0)
        status = all_rounds(&l);
    bench_writer_fini(&l.writer);
    bench_reader_free(l.reader);
    return bench_run_close(b, status);
}

int bench_live_writes(struct bench_run *b)
{
    static const int rows[] = {1, 100};
    const struct bench_options o = b->o;
    int status = 0;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && status == 0; i++) {
        if (o.rows && i)
            break;
        b->o.rows = o.rows ? o.rows : rows[i];
        for (int writers = 1; writers <= 64 && status == 0 && !interrupt_seen(); writers *= 2) {
            b->o.writers = o.writers ? o.writers : writers;
            status = bench_live_run(b);
            if (o.writers)
                break;
        }
    }
    return status;
}
