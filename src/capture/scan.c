#include "capture/scan_place.h"

#include "base/clock.h"
#include "base/status.h"
#include "capture/moment.h"
#include "capture/select.h"
#include "capture/values.h"
#include <string.h>

#define OPEN_MS 10000    /* how long to look for a moment between two commits */
#define SLICE_NS 4000000 /* of one page, so that scans take turns */
#define LOOK_ROWS 64     /* between two looks at the clock */

static int status_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return STATUS_NOMEM;
    case SQLITE_INTERRUPT:
    case SQLITE_BUSY:
        return STATUS_CLOSED;
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
        return STATUS_CONFLICT;
    }
    return STATUS_IO;
}

/* The file's definition of the tables is the one that the server knows. */
static int check_schema(struct scan_place *at, const struct scan *s)
{
    int64_t cookie = 0;
    int rc = sqlconn_integer(&at->conn, OWN_SCHEMA_VERSION, &cookie);
    if (rc != SQLITE_OK)
        return status_of(rc);
    return s->schema->cookie == (uint32_t)cookie ? STATUS_OK : STATUS_CONFLICT;
}

void scan_open(struct scan_place *at, struct scan *s, struct published *published)
{
    at->owner = s;
    at->opened_ms = clock_mono_ms();
    s->place = at;
    sqlconn_limit(&at->conn, 0, NULL);
    int rc = moment_begin_exactly(&at->conn, published, OPEN_MS, &s->seq, &s->schema);
    s->status = rc == SQLITE_OK ? check_schema(at, s) : status_of(rc);
    if (s->status < 0)
        scan_end(at);
}

static int bind(sqlite3_stmt *rows, const struct scan *s)
{
    int rc = SQLITE_OK;
    for (int i = 0; i < s->param_count && rc == SQLITE_OK; i++)
        rc = values_bind(rows, i + 1, &s->params[i]);
    return rc;
}

static int prepare(struct scan_place *at, const struct scan *s)
{
    const char *where = s->where && *s->where ? s->where : NULL;
    if (where && select_by_index(&at->conn, s->table, where)) {
        int rc = select_prepare(&at->conn, s->table, where, &at->rows);
        return rc == SQLITE_OK ? bind(at->rows, s) : rc;
    }
    return select_prepare(&at->conn, s->table, NULL, &at->rows);
}

static int keep_row(struct scan_place *at, struct scan *s)
{
    struct batch *b = s->batch;
    struct batch_mark mark = batch_mark(b);
    int status = select_row(at->rows, s->table, b);
    if (status < 0)
        return status;
    struct change *c = &b->changes[b->change_count - 1];
    c->seq = s->seq;
    if (s->keep && !s->keep(s->ctx, c->row, c->rowid))
        batch_rewind(b, &mark);
    return STATUS_OK;
}

static int read_rows(struct scan_place *at, struct scan *s)
{
    int64_t end = clock_mono_ns() + SLICE_NS;
    int status = STATUS_OK;
    for (unsigned n = 1; status == STATUS_OK && s->batch->bytes < s->page_bytes; n++) {
        if (n % LOOK_ROWS == 0 && clock_mono_ns() > end)
            return STATUS_OK;
        int rc = sqlite3_step(at->rows);
        s->last = rc == SQLITE_DONE;
        if (s->last)
            return STATUS_OK;
        status = rc == SQLITE_ROW ? keep_row(at, s) : status_of(rc);
    }
    return status;
}

void scan_page(struct scan_place *at, struct scan *s)
{
    int rc = SQLITE_OK;
    s->last = false;
    s->batch = batch_new(0);
    s->status = s->batch ? STATUS_OK : STATUS_NOMEM;
    if (s->batch && !at->rows && (rc = prepare(at, s)) != SQLITE_OK)
        s->status = status_of(rc);
    if (s->status == STATUS_OK)
        s->status = read_rows(at, s);
    if (s->status == STATUS_OK) {
        s->batch->first_seq = s->batch->last_seq = s->seq;
        return;
    }
    batch_unref(s->batch);
    s->batch = NULL;
}

void scan_end(struct scan_place *at)
{
    sqlite3_finalize(at->rows);
    at->rows = NULL;
    at->owner = NULL;
    sqlconn_unlimit(&at->conn);
    if (!sqlite3_get_autocommit(at->conn.db))
        sqlconn_run(&at->conn, OWN_ROLLBACK);
}
