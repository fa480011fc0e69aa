#include "filter/filter_sql.h"

#include "base/status.h"

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

static bool is_real(const struct table *t, const struct filter_term *term)
{
    return term->column != FILTER_ROWID && t->columns[term->column].affinity == AFFINITY_REAL;
}

/* <0, 0 or >0: how the integer's nearest real compares with it. */
static int rounding(const struct value *v)
{
    const struct value nearest = {.type = VALUE_REAL, .r = (double)v->i};
    return v->type == VALUE_INTEGER ? value_compare(&nearest, v, COLLATION_BINARY) : 0;
}

/*
 * To look into an index of a REAL column SQLite makes a real of an integer, even of one that no
 * real is equal to. Then the operator must be the one that is right for its nearest real as well;
 * no row is equal to it.
 */
static const char *operator_for(const struct filter_term *term, bool real)
{
    static const char *const operators[] = {
        [FILTER_EQ] = "=",
        [FILTER_NE] = "!=",
        [FILTER_LT] = "<",
        [FILTER_LE] = "<=",
        [FILTER_GT] = ">",
        [FILTER_GE] = ">=",
    };
    int rounded = real ? rounding(term->values) : 0;
    if (rounded == 0)
        return operators[term->op];
    if (term->op == FILTER_LT || term->op == FILTER_LE)
        return rounded < 0 ? "<=" : "<";
    if (term->op == FILTER_GT || term->op == FILTER_GE)
        return rounded > 0 ? ">=" : ">";
    return term->op == FILTER_NE ? "!=" : NULL;
}

static void put_list(struct buf *sql, const struct filter_term *term, bool real, int number)
{
    const char *separator = " IN (";
    for (int i = 0; i < term->value_count; i++) {
        if (real && rounding(&term->values[i]) != 0)
            continue;
        buf_printf(sql, "%s?%d", separator, number + i);
        separator = ",";
    }
    buf_puts(sql, *separator == ',' ? ")" : " IN ()");
}

static void put_comparison(struct buf *sql, const struct filter_term *term, bool real, int number)
{
    const char *operator= operator_for(term, real);
    if (operator)
        buf_printf(sql, "%s?%d", operator, number);
    else
        buf_puts(sql, " IN ()");
}

static void put_term(
    struct buf *sql, const struct table *t, const struct filter_term *term, int number)
{
    put_column(sql, t, term);
    if (term->op == FILTER_IS_NULL)
        buf_puts(sql, " IS NULL");
    else if (term->op == FILTER_NOT_NULL)
        buf_puts(sql, " IS NOT NULL");
    else if (term->op == FILTER_IN)
        put_list(sql, term, is_real(t, term), number);
    else
        put_comparison(sql, term, is_real(t, term), number);
    buf_putc(sql, 0);
}

int filter_put_sql(const struct filter *f, const struct table *t, struct buf *sql,
    const struct value **params, int *count)
{
    *count = 0;
    *params = f->term_count > 0 ? f->terms[0].values : NULL;
    for (int i = 0; i < f->term_count; i++) {
        put_term(sql, t, &f->terms[i], *count + 1);
        *count += f->terms[i].value_count;
    }
    return buf_error(sql);
}
