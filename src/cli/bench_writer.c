#include "cli/bench_writer.h"
#include "base/mem.h"
#include "base/status.h"

#include <string.h>

void bench_put_payload(struct buf *out, int len)
{
    static const char text[] = "The quick brown fox jumps over the lazy dog";

    for (size_t left = (size_t)len, n; left; left -= n) {
        n = left < sizeof(text) - 1 ? left : sizeof(text) - 1;
        buf_put(out, text, n);
    }
}

/* The part of a request that is always the same. */
static int put_sql(struct bench_writer *w)
{
    bool filtered = w->spread.filter != BENCH_ALL;
    const char *row = filtered ? "(?,?,?,?)" : "(?,?,?)";

    buf_puts(&w->sql, "{\"sql\":\"INSERT INTO ");
    /* The quoted name holds double quotes, which JSON wants escaped. */
    for (const char *p = w->table; *p; p++)
        buf_puts(&w->sql, *p == '"' ? "\\\"" : (char[]){*p, '\0'});
    buf_puts(&w->sql, filtered ? "(k, payload, at, v) VALUES " : "(k, payload, at) VALUES ");
    for (int i = 0; i < w->rows; i++) {
        if (i)
            buf_putc(&w->sql, ',');
        buf_puts(&w->sql, row);
    }
    buf_puts(&w->sql, "\",\"params\":[");
    return buf_error(&w->sql);
}

/* What is the same in all rows of a request. */
static void put_common(struct bench_writer *w, int64_t from)
{
    buf_reset(&w->common);
    buf_puts(&w->common, ",\"");
    bench_put_payload(&w->common, w->payload);
    buf_puts(&w->common, "\",");
    buf_put_i64(&w->common, from);
}

static void put_insert(void *ctx, int number, int64_t from, struct buf *body)
{
    struct bench_writer *w = ctx;

    put_common(w, from);
    buf_put(body, w->sql.data, w->sql.len);
    for (int i = 0; i < w->rows; i++) {
        uint64_t row = ++w->sent[number];

        if (i)
            buf_putc(body, ',');
        buf_put_i64(body, (int64_t)number << BENCH_KEY_SHIFT | (int64_t)row);
        buf_put(body, w->common.data, w->common.len);
        if (w->spread.filter != BENCH_ALL) {
            buf_putc(body, ',');
            buf_put_i64(body, bench_spread_value(&w->spread, row));
        }
    }
    buf_puts(body, "]}");
    if (buf_error(&w->common))
        body->err = w->common.err;
}

static bool inserted(void *ctx, int number, const char *body, size_t len, const char **why)
{
    struct bench_writer *w = ctx;

    (void)body, (void)len, (void)why;
    w->acknowledged[number] += (uint64_t)w->rows;
    return true;
}

int bench_writer_init(struct bench_writer *w, struct buf *err)
{
    struct bench_http_options o = {
        .address = w->address,
        .count = w->count,
        .rate = w->rate,
        .most = w->most,
        .by_turns = w->by_turns,
        .pipeline = w->pipeline,
        .put = put_insert,
        .answered = inserted,
        .ctx = w,
    };

    w->sent = mem_array((size_t)w->count, sizeof(*w->sent));
    w->acknowledged = mem_array((size_t)w->count, sizeof(*w->acknowledged));
    if (!w->sent || !w->acknowledged || put_sql(w) < 0) {
        buf_puts(err, "out of memory");
        return STATUS_NOMEM;
    }
    w->http = bench_http_new(&o, err);
    return w->http ? 0 : STATUS_IO;
}

void bench_writer_fini(struct bench_writer *w)
{
    bench_http_free(w->http);
    mem_free(w->sent);
    mem_free(w->acknowledged);
    buf_fini(&w->sql);
    buf_fini(&w->common);
}

uint64_t bench_writer_rows(const struct bench_writer *w)
{
    uint64_t rows = 0;

    for (int i = 0; i < w->count; i++)
        rows += w->acknowledged[i];
    return rows;
}

bool bench_writer_uncertain(const struct bench_writer *w)
{
    for (int i = 0; i < w->count; i++)
        if (w->sent[i] != w->acknowledged[i])
            return true;
    return false;
}
