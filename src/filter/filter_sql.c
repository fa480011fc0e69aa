#include "filter/filter_sql.h"

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

/* An application's collation is compared as BINARY by filters, and SQLite does not know it here. */
static void put_column(struct buf *sql, const struct table *t, const struct filter_term *term)
{
    put_name(
        sql, term->column == FILTER_ROWID ? table_rowid_name(t) : t->columns[term->column].name);
    if (term->collation == COLLATION_OTHER)
        buf_puts(sql, " COLLATE BINARY");
}

static void put_list(struct buf *sql, const struct filter_term *term, int number)
{
    for (int i = 0; i < term->value_count; i++)
        buf_printf(sql, "%s?%d", i ? "," : " IN (", number + i);
    buf_putc(sql, ')');
}

static void put_term(
    struct buf *sql, const struct table *t, const struct filter_term *term, int number)
{
    static const char *const operators[] = {
        [FILTER_EQ] = "=",
        [FILTER_NE] = "!=",
        [FILTER_LT] = "<",
        [FILTER_LE] = "<=",
        [FILTER_GT] = ">",
        [FILTER_GE] = ">=",
    };
    put_column(sql, t, term);
    if (term->op == FILTER_IS_NULL)
        buf_puts(sql, " IS NULL");
    else if (term->op == FILTER_NOT_NULL)
        buf_puts(sql, " IS NOT NULL");
    else if (term->op == FILTER_IN)
        put_list(sql, term, number);
    else
        buf_printf(sql, "%s?%d", operators[term->op], number);
    buf_putc(sql, 0);
}

int filter_put_sql(const struct filter *f, const struct table *t, struct buf *sql,
    const struct value **params, int *count)
{
    *count = 0;
    *params = f->term_count > 0 ? filter_values(f) : NULL;
    for (int i = 0; i < f->term_count; i++) {
        put_term(sql, t, &f->terms[i], *count + 1);
        *count += f->terms[i].value_count;
    }
    return buf_error(sql);
}
