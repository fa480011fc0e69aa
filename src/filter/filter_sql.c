#include "filter/filter_sql.h"

#include <string.h>

static const char *const operators[] = {
    [FILTER_EQ] = "=",
    [FILTER_NE] = "!=",
    [FILTER_LT] = "<",
    [FILTER_LE] = "<=",
    [FILTER_GT] = ">",
    [FILTER_GE] = ">=",
    [FILTER_IN] = " IN (",
    [FILTER_IS_NULL] = " IS NULL",
    [FILTER_NOT_NULL] = " IS NOT NULL",
};

static void put_name(struct buf *sql, const char *name)
{
    buf_putc(sql, '"');
    for (; *name; name++) {
        if (*name == '"')
            buf_putc(sql, '"');
        buf_putc(sql, *name);
    }
    buf_putc(sql, '"');
}

static void put_values(struct buf *sql, int count, int *number)
{
    for (int i = 0; i < count; i++)
        buf_printf(sql, i ? ",?%d" : "?%d", ++*number);
}

static void put_term(struct buf *sql, const struct filter_term *t, const char *column, int *number)
{
    put_name(sql, column);
    buf_puts(sql, operators[t->op]);
    put_values(sql, t->value_count, number);
    if (t->op == FILTER_IN)
        buf_putc(sql, ')');
}

void filter_put_sql(const struct filter *f, const struct table *table, struct buf *sql,
    const struct value **params, int *count)
{
    const char *rowid = table_rowid_name(table);
    *count = 0;
    /* See filter_new: the values of all terms follow the terms. */
    *params = (const struct value *)(f->terms + f->term_count);
    for (int i = 0; i < f->term_count; i++)
        if (f->terms[i].column == FILTER_ROWID && !rowid)
            return;
    for (int i = 0; i < f->term_count; i++) {
        const struct filter_term *t = &f->terms[i];
        if (i > 0)
            buf_puts(sql, " AND ");
        put_term(sql, t, t->column == FILTER_ROWID ? rowid : table->columns[t->column].name, count);
    }
}
