#include "capture/statement_log.h"

#include "base/clock.h"
#include "base/log.h"
#include "capture/sqlshape.h"

/* Bytes of SQL in one line. */
#define SHAPE_MAX 1000

static atomic_uint_fast64_t last_number;

void statement_log_begin(struct sql_request *r)
{
    if (r->number)
        return;
    r->number = atomic_fetch_add_explicit(&last_number, 1, memory_order_relaxed) + 1;
    log_event(LOG_DEBUG, "query started", log_uint("query", r->number),
        log_id("connection", r->origin), log_int("statements", r->statement_count));
}

/* The statements of a request, as a log may show them. */
static void put_shape(struct buf *out, const struct sql_request *r, struct published *p)
{
    pthread_mutex_lock(&p->lock);
    struct schema *known = schema_ref(p->schema);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < r->statement_count && out->len < SHAPE_MAX; i++) {
        const struct sql_statement *s = &r->statements[i];
        buf_puts(out, i > 0 ? "; " : "");
        sqlshape_put(out, s->sql, s->len, SHAPE_MAX - out->len, known);
    }
    schema_unref(known);
}

static void warn_slow(const struct sql_request *r, struct published *p, int64_t waited_ns)
{
    struct buf shape = {0};
    put_shape(&shape, r, p);
    const char *sql = buf_text(&shape);
    log_event(LOG_WARN, "slow query", log_uint("query", r->number), log_id("connection", r->origin),
        log_seconds("duration", r->run_ns), log_seconds("waited", waited_ns),
        log_uint("rows", r->rows), log_int("changes", r->changes),
        log_text("error", r->error.code[0] ? r->error.code : NULL), log_text("sql", sql));
    buf_fini(&shape);
}

void statement_log_end(
    struct sql_request *r, struct published *p, const struct database_options *options, bool wrote)
{
    if (!r->number)
        return;
    int64_t waited_ns = r->posted_ns ? clock_mono_ns() - r->posted_ns - r->run_ns : 0;
    tally_add(wrote ? &p->writes : &p->reads, &tally_durations, r->run_ns);
    log_event(LOG_DEBUG, "query ended", log_uint("query", r->number),
        log_id("connection", r->origin), log_seconds("duration", r->run_ns),
        log_uint("rows", r->rows), log_int("changes", r->changes),
        log_text("error", r->error.code[0] ? r->error.code : NULL));
    if (options->slow_query_ms && r->run_ns > options->slow_query_ms * 1000000)
        warn_slow(r, p, waited_ns > 0 ? waited_ns : 0);
    r->number = 0;
}

void statement_log_read(
    struct sql_request *r, struct published *p, const struct database_options *options)
{
    statement_log_end(r, p, options, false);
    atomic_fetch_add(&p->statements, 1);
    atomic_fetch_add(&p->errors, r->error.code[0] != 0);
}
