#include "capture/rows_after.h"

#include "base/status.h"
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

/* Runs "ALTER TABLE … ADD COLUMN" on a row of an empty database and reads what the row got. */
static int read_default(sqlite3 *scratch, const struct column *c, sqlite3_stmt **s)
{
    static const char *const types[] = {
        [AFFINITY_BLOB] = "BLOB",
        [AFFINITY_TEXT] = "TEXT",
        [AFFINITY_NUMERIC] = "NUMERIC",
        [AFFINITY_INTEGER] = "INTEGER",
        [AFFINITY_REAL] = "REAL",
    };
    /* PRAGMA table_xinfo gives the text without the parentheses that an expression needs. */
    static const char *const forms[] = {
        "ALTER TABLE t ADD COLUMN c %s DEFAULT %s", "ALTER TABLE t ADD COLUMN c %s DEFAULT (%s)"};
    int rc = sqlite3_exec(scratch, "CREATE TABLE t(a); INSERT INTO t VALUES(1)", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return rc;
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        char *sql = sqlite3_mprintf(forms[i], types[c->affinity], c->default_sql);
        rc = sql ? sqlite3_exec(scratch, sql, NULL, NULL, NULL) : SQLITE_NOMEM;
        sqlite3_free(sql);
        if (rc != SQLITE_ERROR)
            break;
    }
    return rc == SQLITE_OK ? sqlite3_prepare_v2(scratch, "SELECT c FROM t", -1, s, NULL) : rc;
}

/*
 * SQLite itself is asked, because a default that ADD COLUMN gave to rows that were there is not
 * always the one that an INSERT gives: 3.0 becomes 3 in a column without a type.
 */
int rows_after_default(void *ctx, const struct column *column, struct value *value)
{
    struct recorder *r = ctx;
    sqlite3 *scratch = NULL;
    sqlite3_stmt *s = NULL;
    struct value v;
    *value = (struct value){.type = VALUE_NULL};
    if (!column->default_sql)
        return STATUS_OK;
    int rc = sqlite3_open(":memory:", &scratch);
    if (rc == SQLITE_OK)
        rc = read_default(scratch, column, &s);
    int status = STATUS_NOMEM;
    if (rc == SQLITE_ERROR) /* not a constant: then there was no row to give it to */
        status = STATUS_OK;
    else if (rc == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW &&
             values_from(&v, sqlite3_column_value(s, 0), AFFINITY_BLOB) == STATUS_OK)
        status = batch_set_value(r->batch, value, &v);
    sqlite3_finalize(s);
    sqlite3_close(scratch);
    return status;
}
