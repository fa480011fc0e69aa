#include "capture/sqlshape.h"

#include "capture/sqltext.h"
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_known(const struct schema *known, const char *name, size_t len)
{
    for (int i = 0; known && i < known->table_count; i++) {
        const struct table *t = known->tables[i];
        if (table_column(t, name, len) >= 0)
            return true;
    }
    return known && schema_find(known, name, len);
}

/* Doubled quotes inside are not undone: such a name is not found, and hidden. */
static void put_quoted(struct buf *out, const struct sqltext_token *t, const struct schema *known)
{
    if (t->len > 2 && is_known(known, t->p + 1, t->len - 2))
        buf_put(out, t->p, t->len);
    else
        buf_puts(out, "\"?\"");
}

/* A blob is a word and a string: x'00'. */
static bool is_blob(const struct sqltext_token *t, const char *end)
{
    return t->kind == SQLTEXT_WORD && t->len == 1 && (*t->p == 'x' || *t->p == 'X') &&
           t->p + 1 < end && t->p[1] == '\'';
}

/* A token goes on the number before it: 1.5e-3 comes as 1 . 5e - 3. */
static bool goes_on(const struct sqltext_token *t, const char *number_end)
{
    bool sign = *t->p == '+' || *t->p == '-';
    if (t->p != number_end)
        return false;
    return (sign && (number_end[-1] | 32) == 'e') ||
           (*t->p == '.' || is_digit(*t->p) || t->kind == SQLTEXT_WORD);
}

static void put_token(struct buf *out, const struct sqltext_token *t, const struct schema *known)
{
    bool literal = *t->p == '\'' || is_digit(*t->p) || t->kind == SQLTEXT_PARAM;
    if (literal)
        buf_putc(out, '?');
    else if (strchr("\"[`", *t->p))
        put_quoted(out, t, known);
    else
        buf_put(out, t->p, t->len);
}

void sqlshape_put(
    struct buf *out, const char *sql, size_t len, size_t max, const struct schema *known)
{
    const char *end = sql + len, *before = NULL, *number_end = NULL;
    size_t pos = 0, start = out->len;
    struct sqltext_token t;
    while ((t = sqltext_next(sql, len, &pos)).kind != SQLTEXT_END) {
        if (out->len - start + t.len + 4 > max) {
            buf_puts(out, " …");
            return;
        }
        if (goes_on(&t, number_end)) {
            number_end = before = t.p + t.len;
            continue;
        }
        number_end = is_digit(*t.p) ? t.p + t.len : NULL;
        if (before && t.p > before)
            buf_putc(out, ' ');
        before = t.p + t.len;
        if (!is_blob(&t, end))
            put_token(out, &t, known);
    }
}
