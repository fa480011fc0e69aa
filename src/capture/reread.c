#include "capture/reread.h"

#include "base/status.h"
#include "capture/table_rows.h"
#include "capture/values.h"
#include <math.h>
#include <string.h>

/*
 * What the preupdate hook gets wrong (measured with SQLite 3.40.1):
 *  - the old value of a column that ALTER TABLE added later is NULL instead of the default;
 *  - columns are looked up by their stored index where the declared one is meant, so with a virtual
 *    generated column before them an integer can come as a real, and the column whose stored index
 *    is the INTEGER PRIMARY KEY's declared one as the rowid. In WITHOUT ROWID tables the same
 * happens by the place in the key's index.
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

/*
 * A key that the hook rounded to a real: integers from 2^53 on have neighbours that round to the
 * same one, so the row is looked for among them.
 */
static bool is_rounded(const struct column *c, const struct value *v)
{
    return v->type == VALUE_REAL && c->affinity != AFFINITY_REAL &&
           fabs(v->r) >= 9007199254740992.0;
}

static bool has_rounded_key(const struct table *t, const struct value *row)
{
    for (int i = 0; t->without_rowid && i < t->key_count; i++)
        if (is_rounded(&t->columns[t->key_columns[i]], &row[t->key_columns[i]]))
            return true;
    return false;
}

static void put_key(sqlite3_str *sql, const struct table *t, bool rounded)
{
    if (!t->without_rowid) {
        sqlite3_str_appendf(sql, "\"%w\"=?1", table_rowid_name(t));
        return;
    }
    for (int i = 0; i < t->key_count; i++)
        sqlite3_str_appendf(sql, rounded ? "%s\"%w\" BETWEEN ?%d AND ?%d" : "%s\"%w\"=?%d",
            i ? " AND " : "", t->columns[t->key_columns[i]].name, 2 * i + 1, 2 * i + 2);
}

static int prepare(struct recorder *r, const struct table *t, bool rounded)
{
    if (r->reread && r->reread_table == t && !rounded)
        return SQLITE_OK;
    sqlite3_finalize(r->reread);
    r->reread = NULL;
    r->reread_table = rounded ? NULL : t;
    sqlite3_str *sql = sqlite3_str_new(r->conn->db);
    table_rows_put_select(sql, t, false);
    sqlite3_str_appendall(sql, " WHERE ");
    put_key(sql, t, rounded);
    char *text = sqlite3_str_finish(sql);
    if (!text)
        return SQLITE_NOMEM;
    int rc = sqlconn_prepare(r->conn, &r->reread, "%s", text);
    sqlite3_free(text);
    return rc;
}

static int bind_key(
    struct recorder *r, const struct table *t, int64_t rowid, const struct value *row, bool rounded)
{
    if (!t->without_rowid)
        return sqlite3_bind_int64(r->reread, 1, rowid);
    int rc = SQLITE_OK;
    for (int i = 0; i < t->key_count && rc == SQLITE_OK; i++) {
        struct value from = row[t->key_columns[i]], to = from;
        if (rounded && is_rounded(&t->columns[t->key_columns[i]], &from)) {
            from.r = nextafter(from.r, -HUGE_VAL);
            to.r = nextafter(to.r, HUGE_VAL);
        }
        rc = values_bind(r->reread, 2 * i + 1, &from);
        if (rc == SQLITE_OK && rounded)
            rc = values_bind(r->reread, 2 * i + 2, &to);
    }
    return rc;
}

/* The row of the statement has the key that the hook rounded. */
static bool same_rounded_key(struct recorder *r, const struct table *t, const struct value *row)
{
    for (int i = 0, at = 0; i < t->column_count; i++) {
        if (t->columns[i].stored < 0)
            continue;
        if (t->columns[i].pk && is_rounded(&t->columns[i], &row[i]) &&
            sqlite3_column_double(r->reread, at) != row[i].r)
            return false;
        at++;
    }
    return true;
}

/* Of several rows whose keys round alike none can be told to be the one: that is a failure. */
static int find_row(struct recorder *r, const struct table *t, struct value *row, bool rounded)
{
    struct value *found = rounded ? batch_row(r->batch, t->column_count) : row;
    int count = 0, status = found ? STATUS_OK : STATUS_NOMEM;
    while (status == STATUS_OK && sqlite3_step(r->reread) == SQLITE_ROW) {
        if (rounded && !same_rounded_key(r, t, row))
            continue;
        status = ++count == 1 ? table_rows_take(r->reread, t, r->batch, found) : STATUS_IO;
    }
    if (status == STATUS_OK && count == 0)
        status = STATUS_IO;
    for (int i = 0; rounded && status == STATUS_OK && i < t->column_count; i++)
        row[i] = found[i];
    return status;
}

int reread_row(struct recorder *r, const struct table *t, int64_t rowid, struct value *row)
{
    /* With all three names of the rowid taken by columns the row cannot be found. */
    if (!t->without_rowid && !table_rowid_name(t))
        return STATUS_OK;
    struct statement_report *report = r->conn->auth.report;
    bool rounded = has_rounded_key(t, row);
    r->conn->auth.report = NULL;
    int status = STATUS_IO;
    if (prepare(r, t, rounded) == SQLITE_OK && bind_key(r, t, rowid, row, rounded) == SQLITE_OK)
        status = find_row(r, t, row, rounded);
    if (r->reread) {
        sqlite3_reset(r->reread);
        sqlite3_clear_bindings(r->reread);
    }
    r->conn->auth.report = report;
    return status;
}
