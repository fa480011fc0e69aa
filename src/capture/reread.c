#include "capture/reread.h"

#include "base/status.h"
#include "base/text.h"
#include "capture/values.h"
#include <string.h>

/*
 * What the preupdate hook gets wrong (measured with SQLite 3.40.1):
 *  - the old value of a column that ALTER TABLE added later is NULL instead of the default;
 *  - columns are looked up by their stored index where the declared one is meant, so with a virtual
 *    generated column before them an integer can come as a real, and the column whose stored index
 *    is the INTEGER PRIMARY KEY's declared one as the rowid. In WITHOUT ROWID tables the same happens
 *    by the place in the key's index.
 */
bool reread_always(const struct table *t)
{
    return t->rowid_alias >= 0 && t->columns[t->rowid_alias].stored != t->rowid_alias;
}

bool reread_doubtful(const struct table *t, const struct value *row)
{
    if (reread_always(t))
        return true;
    for (int i = 0; i < t->column_count; i++) {
        const struct column *c = &t->columns[i];
        if (row[i].type == VALUE_NULL && c->default_sql && c->kind == COLUMN_PLAIN)
            return true;
        if (row[i].type == VALUE_REAL && c->affinity != AFFINITY_REAL &&
            (t->without_rowid || c->stored != i))
            return true;
    }
    return false;
}

/* A name for the rowid that no column hides, or NULL. */
static const char *rowid_name(const struct table *t)
{
    static const char *const names[] = {"rowid", "_rowid_", "oid"};
    if (t->rowid_alias >= 0)
        return t->columns[t->rowid_alias].name;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (table_column(t, names[i], strlen(names[i])) < 0)
            return names[i];
    return NULL;
}

static void put_key(sqlite3_str *sql, const struct table *t)
{
    if (!t->without_rowid) {
        sqlite3_str_appendf(sql, "\"%w\"=?1", rowid_name(t));
        return;
    }
    for (int i = 0; i < t->key_count; i++)
        sqlite3_str_appendf(sql, "%s\"%w\" IS ?%d", i ? " AND " : "",
            t->columns[t->key_columns[i]].name, i + 1);
}

static int prepare(struct recorder *r, const struct table *t)
{
    if (r->reread && r->reread_table == t)
        return SQLITE_OK;
    sqlite3_finalize(r->reread);
    r->reread = NULL;
    r->reread_table = t;
    sqlite3_str *sql = sqlite3_str_new(r->conn->db);
    for (int i = 0; i < t->column_count; i++)
        if (t->columns[i].stored >= 0)
            sqlite3_str_appendf(
                sql, "%s\"%w\"", sqlite3_str_length(sql) ? "," : "SELECT ", t->columns[i].name);
    sqlite3_str_appendf(sql, " FROM main.\"%w\" WHERE ", t->name);
    put_key(sql, t);
    char *text = sqlite3_str_finish(sql);
    if (!text)
        return SQLITE_NOMEM;
    int rc = sqlconn_prepare(r->conn, &r->reread, "%s", text);
    sqlite3_free(text);
    return rc;
}

static int bind_key(struct recorder *r, const struct table *t, int64_t rowid, struct value *row)
{
    if (!t->without_rowid)
        return sqlite3_bind_int64(r->reread, 1, rowid);
    int rc = SQLITE_OK;
    for (int i = 0; i < t->key_count && rc == SQLITE_OK; i++)
        rc = values_bind(r->reread, i + 1, &row[t->key_columns[i]]);
    return rc;
}

static int take_row(struct recorder *r, const struct table *t, struct value *row)
{
    for (int i = 0, at = 0; i < t->column_count; i++) {
        struct value v;
        if (t->columns[i].stored < 0)
            continue;
        sqlite3_value *from = sqlite3_column_value(r->reread, at++);
        if (values_from(&v, from, t->columns[i].affinity) < 0)
            return STATUS_NOMEM;
        int status = batch_set_value(r->batch, &row[i], &v);
        if (status < 0)
            return status;
    }
    return STATUS_OK;
}

int reread_row(struct recorder *r, const struct table *t, int64_t rowid, struct value *row)
{
    /* With all three names of the rowid taken by columns the row cannot be found. */
    if (!t->without_rowid && !rowid_name(t))
        return STATUS_OK;
    struct statement_report *report = r->conn->auth.report;
    r->conn->auth.report = NULL;
    int status = STATUS_IO;
    if (prepare(r, t) == SQLITE_OK && bind_key(r, t, rowid, row) == SQLITE_OK &&
        sqlite3_step(r->reread) == SQLITE_ROW)
        status = take_row(r, t, row);
    if (r->reread) {
        sqlite3_reset(r->reread);
        sqlite3_clear_bindings(r->reread);
    }
    r->conn->auth.report = report;
    return status;
}
