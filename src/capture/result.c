#include "capture/result.h"

#include "capture/values.h"
#include <string.h>

#define KEPT_COLUMNS 4096 /* bytes of names; more are written anew each time */

void result_columns(struct buf *out, sqlite3_stmt *s)
{
    buf_putc(out, '[');
    for (int i = 0; i < sqlite3_column_count(s); i++) {
        if (i > 0)
            buf_putc(out, ',');
        const char *name = sqlite3_column_name(s, i);
        buf_put_json_text(out, name ? name : "");
    }
    buf_putc(out, ']');
}

/*
 * The same from what was kept of the last time. Only compiling again, after a change of the schema,
 * can change them.
 */
static void put_columns(struct buf *out, struct prepared *p)
{
    int compiled = sqlite3_stmt_status(p->stmt, SQLITE_STMTSTATUS_REPREPARE, 0);
    if (p->columns.len == 0 || p->compiled != compiled) {
        buf_reset(&p->columns);
        p->columns.max = KEPT_COLUMNS;
        p->compiled = compiled;
        result_columns(&p->columns, p->stmt);
    }
    if (buf_error(&p->columns))
        result_columns(out, p->stmt);
    else
        buf_put(out, p->columns.data, p->columns.len);
}

int result_row(struct buf *out, sqlite3_stmt *s)
{
    for (int i = 0; i < sqlite3_column_count(s); i++) {
        struct value v;
        if (values_from(&v, sqlite3_column_value(s, i), AFFINITY_BLOB) < 0)
            return SQLITE_NOMEM;
        buf_putc(out, i > 0 ? ',' : '[');
        value_put_json(out, &v);
    }
    buf_putc(out, ']');
    return SQLITE_OK;
}

int result_run(struct buf *out, struct prepared *p)
{
    int rc;
    bool first = true;
    p->rows = 0;
    /* The first step may prepare again after a schema change and so change the columns. */
    rc = sqlite3_step(p->stmt);
    buf_puts(out, "{\"columns\":");
    put_columns(out, p);
    buf_puts(out, ",\"rows\":[");
    for (; rc == SQLITE_ROW && !buf_error(out); rc = sqlite3_step(p->stmt)) {
        if (!first)
            buf_putc(out, ',');
        first = false;
        p->rows++;
        rc = result_row(out, p->stmt);
        if (rc != SQLITE_OK)
            break;
    }
    buf_putc(out, ']');
    int reset = sqlite3_reset(p->stmt);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : reset != SQLITE_OK ? reset : rc;
}

void result_empty(struct buf *out)
{
    buf_puts(out, "{\"columns\":[],\"rows\":[]");
}

void result_counts(struct buf *out, int64_t changes, int64_t last_rowid)
{
    buf_puts(out, ",\"changes\":");
    buf_put_i64(out, changes);
    buf_puts(out, ",\"lastInsertRowid\":");
    buf_put_i64(out, last_rowid);
}

/* ",\"durationMs\":0.012}": whole microseconds, rounded. */
static void put_milliseconds(struct buf *out, int64_t ns)
{
    uint64_t us = ns > 0 ? ((uint64_t)ns + 500) / 1000 : 0;
    char decimals[] = {
        '.', (char)('0' + us / 100 % 10), (char)('0' + us / 10 % 10), (char)('0' + us % 10), '}'};
    buf_puts(out, ",\"durationMs\":");
    buf_put_u64(out, us / 1000);
    buf_put(out, decimals, sizeof(decimals));
}

void result_end(struct buf *out, uint64_t seq, int64_t duration_ns)
{
    buf_puts(out, ",\"seq\":");
    buf_put_u64(out, seq);
    put_milliseconds(out, duration_ns);
}
