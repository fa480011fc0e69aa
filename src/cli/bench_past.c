#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/bench_run.h"
#include "cli/bench_writer.h"
#include "cli/interrupt.h"
#include "cli/ws_client.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define OPEN_TIMEOUT_MS 10000
#define SILENCE_MS 20000 /* without a row, before the rest counts as lost */
#define TURN_MS 100
#define EVENTS_MAX 64
#define HEAD_BYTES 200 /* of a message: its type stands in there */

/*
 * Subscribers that start at the same time and read what is past: the changes of a table from the
 * earliest that is kept, or a snapshot of it. Each checks that rows come once and in order. All on
 * the caller's thread.
 */
struct bench_past {
    struct target target;
    const char *table, *quoted; /* the table's name; for SQL */
    bool snapshot;
    int64_t wanted; /* rows the table is filled up to */
    int64_t since;  /* the seq to resume from: that at which the table was empty; 0: the earliest */
    int64_t subscribers;
    int rows, payload; /* rows of one commit while it is filled, bytes of text in a row */
    /* The result, filled by read_past. */
    int64_t least, most;  /* rows that a subscriber got */
    uint64_t received;    /* by all of them */
    double first_seconds; /* from the subscribe to the first row, the longest */
    double seconds;       /* until the last subscriber had all */
    double slowest;       /* rows per second of the slowest subscriber */
    double fastest;       /* and of the fastest */
    double cpu_seconds;   /* of this thread: where it comes near `seconds`, it was the bound */
};

struct subscriber {
    struct reading *reading;
    struct ws_client *ws;
    int64_t rows, key; /* so far; the last row's k */
    int64_t first_ns, done_ns;
    uint64_t seq;
};

struct reading {
    struct bench_past *past;
    struct subscriber *subscribers;
    int epoll;
    int left;       /* subscribers that are not done */
    int64_t start;  /* ns: all have asked */
    uint64_t until; /* the seq at which a subscriber has seen all */
    int64_t last;   /* and the row's k */
    struct buf *err;
};

/* SQL. */

/* Runs it and takes a number of the answer: the first of the first row, or else its seq. */
static int run_sql(
    struct client *client, const struct buf *sql, bool row, int64_t *number, struct buf *err)
{
    struct buf body = {0}, answer = {0};
    char why[128];
    json_t *parsed = NULL, *found;
    int status = STATUS_NOMEM;

    buf_puts(&body, "{\"sql\":");
    buf_put_json(&body, sql->data, sql->len);
    buf_putc(&body, '}');
    if (buf_error(sql) || buf_error(&body)) {
        buf_puts(err, "out of memory");
        goto out;
    }
    status = client_request(client, "/api/sql", &body, &answer, err);
    if (status != 200) {
        if (status > 0)
            client_explain(client, status, &answer, NULL, err);
        status = status == STATUS_CLOSED ? status : STATUS_IO;
        goto out;
    }
    parsed = json_read(answer.data, answer.len, why, sizeof(why));
    found = row ? json_array_get(json_array_get(json_object_get(parsed, "rows"), 0), 0)
                : json_object_get(parsed, "seq");
    status = json_is_integer(found) ? 0 : STATUS_INVALID;
    if (status < 0)
        buf_puts(err, "the server's answer to SQL is not understood");
    else
        *number = json_integer_value(found);
out:
    json_decref(parsed);
    buf_fini(&body);
    buf_fini(&answer);
    return status;
}

static int last_key(struct bench_past *p, struct client *client, int64_t *key, struct buf *err)
{
    struct buf sql = {0};
    int status;

    buf_printf(&sql, "SELECT coalesce(max(k), 0) FROM %s", p->quoted);
    status = run_sql(client, &sql, true, key, err);
    buf_fini(&sql);
    return status;
}

/* The rows with k from `from` to `to` in one commit. */
static int insert(struct bench_past *p, struct client *client, int64_t from, int64_t to,
    int64_t *seq, struct buf *err)
{
    struct buf sql = {0};
    int status;

    buf_printf(&sql,
        "INSERT INTO %s(k, payload, at) WITH RECURSIVE c(i) AS (VALUES (%lld) UNION ALL "
        "SELECT i + 1 FROM c WHERE i < %lld) SELECT i, '",
        p->quoted, (long long)from, (long long)to);
    bench_put_payload(&sql, p->payload);
    buf_puts(&sql, "', 0 FROM c");
    status = run_sql(client, &sql, false, seq, err);
    buf_fini(&sql);
    return status;
}

/* Inserts rows until the table, which is there, has as many as wanted. */
static int fill_table(struct bench_past *p, struct client *client, struct buf *err)
{
    int64_t key = 0, seq;
    struct buf nothing = {0};
    int status = last_key(p, client, &key, err);

    /* The past may hold changes of an earlier table of this name. */
    buf_puts(&nothing, "SELECT 1");
    if (status == 0 && key == 0)
        status = run_sql(client, &nothing, false, &p->since, err);
    buf_fini(&nothing);
    while (status == 0 && key < p->wanted && !interrupt_seen()) {
        int64_t to = p->wanted - key < p->rows ? p->wanted : key + p->rows;

        status = insert(p, client, key + 1, to, &seq, err);
        key = to;
    }
    return status == 0 && interrupt_seen() ? STATUS_CLOSED : status;
}

/* What arrives. */

static int fail(const struct subscriber *s, const char *what)
{
    if (!s->reading->err->len)
        buf_printf(
            s->reading->err, "subscriber %d: %s", (int)(s - s->reading->subscribers) + 1, what);
    return STATUS_INVALID;
}

static void done(struct subscriber *s)
{
    s->done_ns = clock_mono_ns();
    s->reading->left--;
}

/* The number behind `name` at or after *at, which moves behind it. */
static bool take_number(const char **at, const char *end, const char *name, int64_t *v)
{
    size_t len = strlen(name);
    const char *p = memmem(*at, (size_t)(end - *at), name, len), *start;

    if (!p)
        return false;
    for (start = p += len; p < end && *p >= '0' && *p <= '9';)
        p++;
    *at = p;
    return text_parse_i64(start, (size_t)(p - start), v) == 0;
}

/*
 * A row's k is one more than that of the row before; only the first may be any. Changes of an
 * earlier table of this name are passed over.
 */
static int take_key(struct subscriber *s, int64_t key)
{
    if (key == 1 && s->rows && !s->reading->past->since && !s->reading->past->snapshot)
        s->rows = 0;
    if (s->rows == 0)
        s->first_ns = clock_mono_ns();
    else if (key != s->key + 1)
        return fail(s, "rows are missing, came twice or out of order");
    s->key = key;
    s->rows++;
    return 0;
}

static int take_change(struct subscriber *s, const char *text, size_t len)
{
    const char *at = text, *end = text + len;
    int64_t seq, key;

    if (s->done_ns)
        return 0;
    if (!take_number(&at, end, "\"seq\":", &seq) || !take_number(&at, end, "\"k\":", &key))
        return fail(s, "a change without seq or k");
    if ((uint64_t)seq <= s->seq)
        return fail(s, "a change came twice or late: its seq does not rise");
    s->seq = (uint64_t)seq;
    if (take_key(s, key) < 0)
        return STATUS_INVALID;
    if (s->seq >= s->reading->until)
        done(s);
    return 0;
}

static int take_page(struct subscriber *s, const char *text, size_t len)
{
    static const char last[] = "\"last\":true}";
    const char *at = text, *end = text + len;
    int64_t key;

    while (take_number(&at, end, "\"k\":", &key))
        if (take_key(s, key) < 0)
            return STATUS_INVALID;
    if (len < sizeof(last) - 1 || memcmp(end - (sizeof(last) - 1), last, sizeof(last) - 1) != 0)
        return 0;
    if (s->rows != s->reading->last)
        return fail(s, "the snapshot has not as many rows as the table");
    done(s);
    return 0;
}

static int take_other(struct subscriber *s, const char *text, size_t len)
{
    char why[128];
    json_t *m = json_read(text, len, why, sizeof(why));
    const char *type = json_string_value(json_object_get(m, "type"));
    const char *reason = json_string_value(json_object_get(json_object_get(m, "error"), "message"));
    json_t *from = json_object_get(json_object_get(m, "data"), "seq");
    int status = 0;

    if (!type)
        status = fail(s, "a message that is not understood");
    else if (strcmp(type, "subscribed") == 0 && !s->reading->past->snapshot &&
             (uint64_t)json_integer_value(from) >= s->reading->until)
        status =
            fail(s, "the server keeps none of the past (see --history and --journal of serve)");
    else if (strcmp(type, "error") == 0)
        status = fail(s, reason ? reason : "the server refused without saying why");
    else if (strcmp(type, "resync") == 0)
        status = fail(s, "the server cannot give all of it (resync)");
    json_decref(m);
    return status;
}

static int on_message(void *ctx, const char *text, size_t len)
{
    static const char change[] = "\"type\":\"database_change\"", page[] = "\"type\":\"snapshot\"";
    struct subscriber *s = ctx;
    size_t head = len < HEAD_BYTES ? len : HEAD_BYTES;

    if (memmem(text, head, change, sizeof(change) - 1))
        return take_change(s, text, len);
    if (memmem(text, head, page, sizeof(page) - 1))
        return take_page(s, text, len);
    return take_other(s, text, len);
}

/* Reading. */

static int open_all(struct reading *r, struct buf *err)
{
    for (int64_t i = 0; i < r->past->subscribers; i++) {
        struct subscriber *s = &r->subscribers[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
        struct target t = r->past->target;
        bool again;

        s->reading = r;
        s->ws = ws_client_open(&t, "/ws", OPEN_TIMEOUT_MS, &again, err);
        if (!s->ws)
            return STATUS_IO;
        if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, ws_client_fd(s->ws), &event) != 0) {
            buf_printf(err, "cannot wait for subscribers: %s", strerror(errno));
            return STATUS_IO;
        }
    }
    return 0;
}

static int ask_all(struct reading *r)
{
    struct buf subscribe = {0};
    int status;

    buf_puts(&subscribe, "{\"type\":\"subscribe\",\"table\":");
    buf_put_json_text(&subscribe, r->past->table);
    if (r->past->snapshot)
        buf_puts(&subscribe, ",\"snapshot\":true}");
    else if (r->past->since)
        buf_printf(&subscribe, ",\"since\":%lld}", (long long)r->past->since);
    else
        buf_puts(&subscribe, ",\"since\":\"earliest\"}");
    status = buf_error(&subscribe);
    r->start = clock_mono_ns();
    for (int64_t i = 0; i < r->past->subscribers && status == 0; i++)
        status = ws_client_send(r->subscribers[i].ws, subscribe.data, subscribe.len);
    buf_fini(&subscribe);
    if (status < 0)
        buf_puts(r->err, "the subscribers could not ask: the connection was lost");
    return status;
}

static int read_one(struct reading *r, struct subscriber *s)
{
    int status = ws_client_read(s->ws, on_message, s);

    if (status == 0 || interrupt_seen())
        return 0;
    epoll_ctl(r->epoll, EPOLL_CTL_DEL, ws_client_fd(s->ws), NULL);
    return fail(s, ws_client_code(s->ws) == WS_CLOSE_TRY_LATER
                       ? "closed by the server because it read too slowly (1013)"
                       : "the connection was lost");
}

static int64_t all_rows(const struct reading *r)
{
    int64_t rows = 0;

    for (int64_t i = 0; i < r->past->subscribers; i++)
        rows += r->subscribers[i].rows;
    return rows;
}

static int read_all(struct reading *r)
{
    struct epoll_event events[EVENTS_MAX];
    int64_t heard = clock_mono_ms(), rows = 0;
    int status = 0;

    while (r->left && status == 0 && !interrupt_seen()) {
        int ready = epoll_wait(r->epoll, events, EVENTS_MAX, TURN_MS);

        for (int i = 0; i < ready && status == 0; i++)
            status = read_one(r, events[i].data.ptr);
        /* Pings are no progress. */
        if (all_rows(r) != rows) {
            rows = all_rows(r);
            heard = clock_mono_ms();
        } else if (status == 0 && r->left && clock_mono_ms() - heard > SILENCE_MS) {
            buf_puts(r->err, "nothing more comes, and it is not all");
            status = STATUS_INVALID;
        }
    }
    return status == 0 && interrupt_seen() ? STATUS_CLOSED : status;
}

static double cpu_seconds(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sum_up(struct reading *r)
{
    struct bench_past *p = r->past;

    for (int64_t i = 0; i < p->subscribers; i++) {
        const struct subscriber *s = &r->subscribers[i];
        double seconds = (double)(s->done_ns - r->start) / 1e9;
        double first = s->rows ? (double)(s->first_ns - r->start) / 1e9 : seconds;
        double rate = (double)s->rows / seconds;

        p->least = i && p->least < s->rows ? p->least : s->rows;
        p->most = p->most > s->rows ? p->most : s->rows;
        p->received += (uint64_t)s->rows;
        p->seconds = p->seconds > seconds ? p->seconds : seconds;
        p->first_seconds = p->first_seconds > first ? p->first_seconds : first;
        p->slowest = i && p->slowest < rate ? p->slowest : rate;
        p->fastest = p->fastest > rate ? p->fastest : rate;
    }
}

/* The last change to wait for is one of our own; a snapshot has to hold every row. */
static int prepare(struct reading *r, struct client *client, struct buf *err)
{
    int64_t seq = 0;
    int status = last_key(r->past, client, &r->last, err);

    if (status == 0 && !r->past->snapshot) {
        r->last++;
        status = insert(r->past, client, r->last, r->last, &seq, err);
    }
    r->until = (uint64_t)seq;
    return status;
}

/*
 * Connects all, then measures. STATUS_INVALID: the server refused, or rows were missing, came twice
 * or out of order; STATUS_IO; STATUS_CLOSED after ^C. What was wrong is in err.
 */
static int read_past(struct bench_past *p, struct client *client, struct buf *err)
{
    struct reading r = {.past = p, .left = (int)p->subscribers, .err = err};
    double cpu;
    int status;

    r.epoll = epoll_create1(EPOLL_CLOEXEC);
    r.subscribers = mem_array((size_t)p->subscribers, sizeof(*r.subscribers));
    if (r.epoll < 0 || !r.subscribers) {
        buf_puts(err, r.subscribers ? strerror(errno) : "out of memory");
        status = STATUS_NOMEM;
        goto out;
    }
    status = prepare(&r, client, err);
    if (status == 0)
        status = open_all(&r, err);
    cpu = cpu_seconds();
    if (status == 0)
        status = ask_all(&r);
    if (status == 0)
        status = read_all(&r);
    p->cpu_seconds = cpu_seconds() - cpu;
    if (status == 0)
        sum_up(&r);
out:
    for (int64_t i = 0; r.subscribers && i < p->subscribers; i++)
        ws_client_free(r.subscribers[i].ws);
    mem_free(r.subscribers);
    if (r.epoll >= 0)
        close(r.epoll);
    return status;
}

/* The test. */

static void put(struct bench_result *r, enum bench_kind kind, const char *name, const char *label,
    const char *unit, double value, int digits)
{
    bench_result_put(r, (struct bench_figure){kind, NULL, name, label, unit, NULL, value, digits});
}

static int report(struct bench_run *b, const struct bench_past *p)
{
    struct bench_result r = {
        .test = p->snapshot ? "snapshot" : "resume", .good = true, .checked = "once and in order"};
    const char *const what = p->snapshot ? "rows per second" : "changes per second";
    int status;

    buf_printf(&r.title, "%s: %lld subscribers, %lld %s each", r.test, (long long)p->subscribers,
        (long long)p->least, p->snapshot ? "rows" : "changes");
    bench_result_parameter(&r, "subscribers", (double)p->subscribers);
    bench_result_parameter(&r, "payload", p->payload);
    put(&r, BENCH_FACT, "least", NULL, NULL, (double)p->least, 0);
    put(&r, BENCH_FACT, "most", NULL, NULL, (double)p->most, 0);
    put(&r, BENCH_FACT, "seconds", NULL, NULL, p->seconds, 3);
    put(&r, BENCH_RATE, "perSecond", "all", what, (double)p->received / p->seconds, 1);
    put(&r, BENCH_RATE, "slowestPerSecond", "slowest", what, p->slowest, 1);
    put(&r, BENCH_RATE, "fastestPerSecond", "fastest", what, p->fastest, 1);
    put(&r, BENCH_COST, "firstMs", "the first", "ms after subscribing", p->first_seconds * 1e3, 3);
    put(&r, BENCH_FACT, "clientCpu", "this client", "processors", p->cpu_seconds / p->seconds, 3);
    status = bench_run_print(b, &r);
    bench_result_fini(&r);
    return status;
}

int bench_past_run(struct bench_run *b)
{
    bool snapshot = b->o.snapshot && strcmp(b->test, "resume") != 0;
    struct bench_past p = {
        .target = b->o.target,
        .table = b->o.table,
        .quoted = b->quoted.data,
        .snapshot = snapshot,
        .wanted = snapshot ? b->o.snapshot : b->o.resume,
        .subscribers = b->o.subscribers,
        .rows = (int)b->o.rows,
        .payload = (int)b->o.payload,
    };
    int status = bench_run_open(
        b, "(id INTEGER PRIMARY KEY, k INTEGER, payload TEXT, at INTEGER)", b->o.keep);

    if (status < 0)
        return status;
    status = fill_table(&p, b->client, &b->err);
    if (status == 0)
        status = read_past(&p, b->client, &b->err);
    if (status == 0)
        status = report(b, &p);
    return bench_run_close(b, status);
}
