#include "cli/bench.h"
#include "base/mem.h"
#include "base/status.h"
#include "cli/bench_run.h"
#include "cli/bench_writer.h"
#include "cli/interrupt.h"
#include "cli/term.h"

#include <string.h>
#include <sys/resource.h>

#define WRITERS_MAX 256
#define READERS_MAX 512
#define PIPELINE_MAX 1000
#define SUBSCRIBERS_MAX 100000
#define SUBSCRIPTIONS_MAX 10000000
#define SPARE_FILES 64
#define TIMEOUT_MS 60000

const struct option_row bench_option_rows[] = {
    TARGET_OPTIONS,
    {"writers", "N", "connections that insert", OPTION_NUMBER,
        offsetof(struct bench_options, writers), 1, WRITERS_MAX},
    {"readers", "N", "connections that SELECT; default 1, then 8, then 64", OPTION_NUMBER,
        offsetof(struct bench_options, readers), 1, READERS_MAX},
    {"subscribers", "N", "WebSocket subscribers", OPTION_NUMBER,
        offsetof(struct bench_options, subscribers), 1, SUBSCRIBERS_MAX},
    {"seconds", "S", "how long a measurement takes; default 5, where there are many of them 2",
        OPTION_DURATION, offsetof(struct bench_options, duration_ms), 100, 86400000},
    {"rows-per-request", "N", "rows of one INSERT; default 1, to fill a table 100", OPTION_NUMBER,
        offsetof(struct bench_options, rows), 1, BENCH_ROWS_MAX},
    {"payload", "BYTES", "text in a row; default 43", OPTION_NUMBER,
        offsetof(struct bench_options, payload), 1, BENCH_PAYLOAD_MAX},
    {"rate", "N", "requests per second of all together; default: all that are answered",
        OPTION_NUMBER, offsetof(struct bench_options, rate), 1, 1000000},
    {"requests", "N", "end a measurement after so many, if its time is not over", OPTION_NUMBER,
        offsetof(struct bench_options, requests), 1, 1000000000},
    {"pipeline", "N", "each writer has N requests under way, over a WebSocket; default: 1, by HTTP",
        OPTION_NUMBER, offsetof(struct bench_options, pipeline), 1, PIPELINE_MAX},
    {"spin", NULL, "do not sleep while waiting: takes a processor, saves its waking up",
        OPTION_FLAG, offsetof(struct bench_options, spin)},
    {"filter", "none|equal|range|in", "each subscription asks for rows of its own only",
        OPTION_CHOICE, offsetof(struct bench_options, filter)},
    {"subscriptions", "N", "of all subscribers together, with a filter; default: one each",
        OPTION_NUMBER, offsetof(struct bench_options, subscriptions), 1, SUBSCRIPTIONS_MAX},
    {"matching", "N", "subscriptions that rows are written for; default: all", OPTION_NUMBER,
        offsetof(struct bench_options, matching), 1, SUBSCRIPTIONS_MAX},
    {"writes-only", NULL, "no subscribers", OPTION_FLAG,
        offsetof(struct bench_options, writes_only)},
    {"resume", "N", "the test resume, with N changes", OPTION_NUMBER,
        offsetof(struct bench_options, resume), 1, 1000000000},
    {"snapshot", "N", "the test snapshot, with N rows", OPTION_NUMBER,
        offsetof(struct bench_options, snapshot), 1, 1000000000},
    {"table", "NAME", "the table to create and use; default bench", OPTION_TEXT,
        offsetof(struct bench_options, table)},
    {"keep", NULL, "do not drop the table; resume and snapshot use it if it is there", OPTION_FLAG,
        offsetof(struct bench_options, keep)},
    {"compare", "FILE", "earlier results, as --format json printed them: show the ratios",
        OPTION_TEXT, offsetof(struct bench_options, compare)},
    {"steps", NULL, "measure once for each line of standard input, with the same connections",
        OPTION_FLAG, offsetof(struct bench_options, steps)},
    {"format", "text|json", "how the result is printed", OPTION_CHOICE,
        offsetof(struct bench_options, format)},
    {NULL},
};

const char bench_help[] =
    "Measures a running server, with a table of its own that is dropped afterwards, and checks\n"
    "what arrived: every change once and in order, every answer the right one. Tests:\n"
    "\n"
    "  live      4 writers insert as fast as they are answered, 10 subscribers; the default\n"
    "  fanout    1 writer, 1000 subscribers to all rows\n"
    "  filters   4 writers, 1000 subscribers, each with a filter for rows of its own\n"
    "  latency   100 requests per second, 10 subscribers\n"
    "  writes    no subscribers; 1, 2, 4 … 64 writers, single rows, then 100 rows a request\n"
    "  reads     1, 8 and 64 connections that SELECT a row by its key\n"
    "  connect   1000 connections with a subscription: how fast, and the server's memory\n"
    "  resume    changes that are past, from the earliest on\n"
    "  snapshot  a table's rows\n"
    "  all       all but live\n"
    "\n"
    "The latency is from before the request to the delivery. With a rate, requests are due at\n"
    "fixed times and count from when they were due, so that what is held up counts as late. The\n"
    "load generator uses the same machine's processors, so the server alone can do more: see its\n"
    "own processor time in the result. Where few requests are made the latency is also that of\n"
    "processors that sleep, this client's too, but with --spin.\n"
    "\n"
    "Examples:\n"
    "  rowtap bench\n"
    "  rowtap bench fanout --subscribers 10000 --seconds 10\n"
    "  rowtap bench filters --filter range --subscriptions 100000\n"
    "  rowtap bench latency --rate 50 --subscribers 1000 --format json\n"
    "  rowtap bench all --format json > before; rowtap bench all --compare before\n";

/* Where a member of defaults is 0, the options' own default is meant, or none. */
static const struct test {
    const char *name;
    struct bench_options defaults;
    int (*run)(struct bench_run *b);
} tests[] = {
    {"live", {.writers = 4, .subscribers = 10, .rows = 1}, bench_live_run},
    {"fanout", {.writers = 1, .subscribers = 1000, .rows = 1}, bench_live_run},
    {"filters", {.writers = 4, .subscribers = 1000, .rows = 1, .filter = BENCH_EQUAL},
        bench_live_run},
    {"latency", {.writers = 4, .subscribers = 10, .rows = 1, .rate = 100}, bench_live_run},
    {"writes", {.duration_ms = 2000, .writes_only = true}, bench_live_writes},
    {"reads", {.duration_ms = 2000, .rows = 1}, bench_reads_run},
    {"connect", {.subscribers = 1000}, bench_connect_run},
    {"resume", {.resume = 100000, .subscribers = 1, .rows = 100}, bench_past_run},
    {"snapshot", {.snapshot = 100000, .subscribers = 1, .rows = 100}, bench_past_run},
};

#define TEST_COUNT (sizeof(tests) / sizeof(tests[0]))

static const struct test *find(const char *name)
{
    for (size_t i = 0; i < TEST_COUNT; i++)
        if (strcmp(tests[i].name, name) == 0)
            return &tests[i];
    return NULL;
}

static void set_default(int64_t *value, int64_t of_test, int64_t otherwise)
{
    if (!*value)
        *value = of_test ? of_test : otherwise;
}

static void set_defaults(struct bench_options *o, const struct test *t)
{
    const struct bench_options *d = &t->defaults;

    set_default(&o->writers, d->writers, 0);
    set_default(&o->subscribers, d->subscribers, 0);
    set_default(&o->duration_ms, d->duration_ms, 5000);
    set_default(&o->rows, d->rows, 0);
    set_default(&o->payload, d->payload, BENCH_PAYLOAD);
    set_default(&o->rate, d->rate, 0);
    set_default(&o->resume, d->resume, 0);
    set_default(&o->snapshot, d->snapshot, 0);
    o->filter = o->filter ? o->filter : d->filter;
    o->table = o->table ? o->table : "bench";
    if (o->writes_only || d->writes_only)
        o->subscribers = 0;
}

/* Enough descriptors for all, or a sentence that says what is missing. */
static int raise_files(struct bench_run *b)
{
    rlim_t wanted = (rlim_t)(b->o.subscribers + b->o.writers + b->o.readers + SPARE_FILES);
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
    buf_reset(out);
    buf_putc(out, '"');
    for (; *name; name++)
        buf_puts(out, *name == '"' ? "\"\"" : (char[]){*name, '\0'});
    buf_putc(out, '"');
}

static int run_test(struct bench_run *b, const struct bench_options *o, const struct test *t)
{
    b->o = *o;
    b->test = t->name;
    set_defaults(&b->o, t);
    quote(&b->quoted, b->o.table);
    if (!buf_text(&b->quoted)) {
        buf_puts(&b->err, "out of memory");
        return STATUS_NOMEM;
    }
    return raise_files(b) < 0 ? STATUS_IO : t->run(b);
}

static int run_all(struct bench_run *b, const struct bench_options *o)
{
    int status = 0;

    for (size_t i = 1; i < TEST_COUNT && status == 0 && !interrupt_seen(); i++) {
        if (i > 1 && b->o.format == 0)
            puts("");
        status = run_test(b, o, &tests[i]);
    }
    return status;
}

static int run(struct bench_run *b, const struct bench_options *o, int argc, char **argv)
{
    const char *usual = o->resume ? "resume" : o->snapshot ? "snapshot" : "live";
    int status = 0;

    b->client = client_new(&b->o.target, TIMEOUT_MS, &b->err);
    b->address = b->client ? bench_address_new(&b->o.target, &b->err) : NULL;
    if (!b->address)
        return STATUS_IO;
    if (o->compare) {
        b->earlier = bench_result_load(o->compare, &b->err);
        if (!b->earlier)
            return STATUS_IO;
    }
    if (argc == 0)
        return run_test(b, o, find(usual));
    for (int i = 0; i < argc && status == 0 && !interrupt_seen(); i++)
        status = strcmp(argv[i], "all") == 0 ? run_all(b, o) : run_test(b, o, find(argv[i]));
    return status;
}

/* 0, or a sentence about what was asked for. */
static int check_usage(const struct bench_options *o, int argc, char **argv)
{
    if ((o->resume != 0) + (o->snapshot != 0) + o->writes_only > 1) {
        term_error("only one of --resume, --snapshot and --writes-only can be measured at a time");
        return STATUS_INVALID;
    }
    for (int i = 0; i < argc; i++) {
        if (!find(argv[i]) && strcmp(argv[i], "all") != 0) {
            struct buf message = {0};

            buf_printf(&message, "there is no test \"%s\"; rowtap help bench lists them", argv[i]);
            term_error(buf_text(&message) ? message.data : "out of memory");
            buf_fini(&message);
            return STATUS_INVALID;
        }
    }
    return 0;
}

int bench_run(const void *options, int argc, char **argv)
{
    const struct bench_options *o = options;
    struct bench_run b = {.o = *o};
    int status;

    if (check_usage(o, argc, argv) < 0)
        return 2;
    interrupt_catch();
    status = run(&b, o, argc, argv);
    if (b.err.len)
        term_error(buf_text(&b.err) ? buf_text(&b.err) : "out of memory");
    client_free(b.client);
    bench_address_free(b.address);
    json_decref(b.earlier);
    buf_fini(&b.quoted);
    buf_fini(&b.err);
    return status < 0 || b.bad;
}
