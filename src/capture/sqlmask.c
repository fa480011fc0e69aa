#include "capture/sqlmask.h"

#include "capture/sqltext.h"
#include <stdbool.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_quoted(const struct sqltext_token *t)
{
    return t->kind == SQLTEXT_OTHER && (*t->p == '\'' || *t->p == '"');
}

static bool is_number(const struct sqltext_token *t)
{
    return t->kind == SQLTEXT_OTHER && is_digit(*t->p);
}

/* x'00' comes as a word and a string. */
static bool is_blob(const struct sqltext_token *t, const char *end)
{
    return t->kind == SQLTEXT_WORD && t->len == 1 && (*t->p == 'x' || *t->p == 'X') &&
           t->p + 1 < end && t->p[1] == '\'';
}

/* What goes on with a number: 1.5e-3 comes as 1 . 5e - 3. */
static bool continues_number(const struct sqltext_token *t, const char *after)
{
    char before = after[-1];
    bool sign = (before == 'e' || before == 'E') && (*t->p == '+' || *t->p == '-');
    return t->p == after && (*t->p == '.' || is_number(t) || sign);
}

void sqlmask_put(struct buf *out, const char *sql, size_t len)
{
    const char *after = sql, *number = NULL; /* behind the last token, and if that was a number */
    size_t pos = 0, start = out->len;
    struct sqltext_token t;
    while ((t = sqltext_next(sql, len, &pos)).kind != SQLTEXT_END) {
        if (number && continues_number(&t, number)) {
            number = after = t.p + t.len;
            continue;
        }
        bool mask = is_quoted(&t) || is_number(&t) || is_blob(&t, sql + len);
        if (out->len - start + (mask ? 1 : t.len) + 1 > SQLMASK_MAX) {
            buf_puts(out, "…");
            return;
        }
        if (t.p != after && out->len > start)
            buf_putc(out, ' ');
        if (mask && is_blob(&t, sql + len))
            t = sqltext_next(sql, len, &pos);
        if (mask)
            buf_putc(out, '?');
        else
            buf_put(out, t.p, t.len);
        after = t.p + t.len;
        number = is_number(&t) ? after : NULL;
    }
}
