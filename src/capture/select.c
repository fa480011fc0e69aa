#include "capture/select.h"

#include "base/status.h"
#include "capture/values.h"
#include <string.h>

static int prepare(struct sqlconn *c, const struct table *t, const char *before, const char *where,
    sqlite3_stmt **s)
{
    const char *rowid = table_rowid_name(t);
    sqlite3_str *sql = sqlite3_str_new(c->db);
    sqlite3_str_appendf(sql, "%sSELECT ", before);
    for (int i = 0; i < t->column_count; i++)
        if (t->columns[i].stored >= 0)
            sqlite3_str_appendf(sql, "\"%w\",", t->columns[i].name);
    if (rowid)
        sqlite3_str_appendf(sql, "\"%w\"", rowid);
    else
        sqlite3_str_appendall(sql, "0");
    sqlite3_str_appendf(sql, " FROM main.\"%w\"", t->name);
    if (where)
        sqlite3_str_appendf(sql, " WHERE %s", where);
    char *text = sqlite3_str_finish(sql);
    *s = NULL;
    int rc = text ? sqlconn_prepare(c, s, "%s", text) : SQLITE_NOMEM;
    sqlite3_free(text);
    return rc;
}

int select_prepare(struct sqlconn *c, const struct table *t, const char *where, sqlite3_stmt **s)
{
    return prepare(c, t, "", where, s);
}

/* https://www.sqlite.org/eqp.html */
bool select_by_index(struct sqlconn *c, const struct table *t, const char *where)
{
    sqlite3_stmt *s;
    bool found = false;
    if (prepare(c, t, "EXPLAIN QUERY PLAN ", where, &s) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW) {
        const char *detail = (const char *)sqlite3_column_text(s, 3);
        found = detail && strncmp(detail, "SEARCH ", 7) == 0;
    }
    sqlite3_finalize(s);
    return found;
}

int select_row(sqlite3_stmt *s, const struct table *t, struct batch *b)
{
    struct value *row = batch_row(b, t->column_count);
    int at = 0, status = row ? STATUS_OK : STATUS_NOMEM;
    for (int i = 0; i < t->column_count && status == STATUS_OK; i++) {
        struct value v;
        if (t->columns[i].stored < 0)
            continue;
        status = values_from(&v, sqlite3_column_value(s, at++), t->columns[i].affinity);
        if (status == STATUS_OK)
            status = batch_set_value(b, &row[i], &v);
    }
    struct change *c = status == STATUS_OK ? batch_add(b, CHANGE_INSERT, t) : NULL;
    if (!c)
        return batch_full(b) ? STATUS_TOO_LARGE : STATUS_NOMEM;
    c->row = row;
    c->rowid = t->without_rowid ? 0 : sqlite3_column_int64(s, at);
    return STATUS_OK;
}
