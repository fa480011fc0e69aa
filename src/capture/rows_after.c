#include "capture/rows_after.h"

#include "base/status.h"
#include "capture/default_value.h"
#include "capture/table_rows.h"
#include "capture/values.h"

static int select_all(struct recorder *r, const struct table *t, sqlite3_stmt **s)
{
    sqlite3_str *sql = sqlite3_str_new(r->conn->db);
    table_rows_put_select(sql, t, true);
    char *text = sqlite3_str_finish(sql);
    int rc = text ? sqlconn_prepare(r->conn, s, "%s", text) : SQLITE_NOMEM;
    sqlite3_free(text);
    return rc;
}

static int add_row(struct recorder *r, const struct table *t, sqlite3_stmt *s)
{
    struct value *row = batch_row(r->batch, t->column_count);
    int status = row ? STATUS_OK : STATUS_NOMEM;
    if (row)
        status = table_rows_take(s, t, r->batch, row);
    struct change *c = status == STATUS_OK ? batch_add(r->batch, CHANGE_INSERT, t) : NULL;
    if (!c) {
        r->failed = batch_full(r->batch) ? RECORDER_FULL : RECORDER_NOMEM;
        return SQLITE_NOMEM;
    }
    c->row = row;
    c->rowid = sqlite3_column_int64(s, sqlite3_column_count(s) - 1);
    return SQLITE_OK;
}

static int add_rows(struct recorder *r, const struct table *t)
{
    sqlite3_stmt *s = NULL;
    int rc = select_all(r, t, &s);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW)
        rc = add_row(r, t, s);
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int rows_after_create(struct recorder *r, const struct schema *before)
{
    struct statement_report *report = r->conn->auth.report;
    int rc = SQLITE_OK;
    r->conn->auth.report = NULL;
    for (int i = 0; i < r->schema->table_count && rc == SQLITE_OK; i++) {
        const struct table *t = r->schema->tables[i];
        if (table_has_events(t) && !schema_find_id(before, t->id))
            rc = add_rows(r, t);
    }
    r->conn->auth.report = report;
    return rc;
}

int rows_after_default(void *ctx, const struct column *column, struct value *value)
{
    struct recorder *r = ctx;
    return default_value(column, r->batch, value);
}
