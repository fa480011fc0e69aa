#include "capture/table_rows.h"

#include "base/status.h"
#include "capture/values.h"

void table_rows_put_select(sqlite3_str *sql, const struct table *t, bool rowid)
{
    const char *separator = "SELECT ", *name = table_rowid_name(t);
    for (int i = 0; i < t->column_count; i++) {
        if (t->columns[i].stored < 0)
            continue;
        sqlite3_str_appendf(sql, "%s\"%w\"", separator, t->columns[i].name);
        separator = ",";
    }
    if (rowid && name)
        sqlite3_str_appendf(sql, "%s\"%w\"", separator, name);
    else if (rowid)
        sqlite3_str_appendf(sql, "%s0", separator);
    sqlite3_str_appendf(sql, " FROM main.\"%w\"", t->name);
}

int table_rows_peek(sqlite3_stmt *s, const struct table *t, struct value *row)
{
    for (int i = 0, at = 0; i < t->column_count; i++) {
        row[i] = (struct value){.type = VALUE_ABSENT};
        if (t->columns[i].stored >= 0 &&
            values_from(&row[i], sqlite3_column_value(s, at++), t->columns[i].affinity) < 0)
            return STATUS_NOMEM;
    }
    return STATUS_OK;
}

int table_rows_take(sqlite3_stmt *s, const struct table *t, struct batch *b, struct value *row)
{
    for (int i = 0, at = 0; i < t->column_count; i++) {
        struct value v;
        if (t->columns[i].stored < 0)
            continue;
        if (values_from(&v, sqlite3_column_value(s, at++), t->columns[i].affinity) < 0)
            return STATUS_NOMEM;
        int status = batch_set_value(b, &row[i], &v);
        if (status < 0)
            return status;
    }
    return STATUS_OK;
}
