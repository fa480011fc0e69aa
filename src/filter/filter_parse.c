#include "filter/filter_parse.h"

#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *text;
    enum filter_op op;
} operators[] = {
    /* The longer one first where one begins with the other. */
    {"==", FILTER_EQ},
    {"=", FILTER_EQ},
    {"!=", FILTER_NE},
    {"<>", FILTER_NE},
    {"<=", FILTER_LE},
    {"<", FILTER_LT},
    {">=", FILTER_GE},
    {">", FILTER_GT},
};

/* The longest part of a user's text that a message repeats, in bytes. */
#define MAX_ECHO 48

/* What of s fits into max bytes without cutting a character in two. */
static int clip(const char *s, size_t len, size_t max)
{
    if (len <= max)
        return (int)len;
    while (max > 0 && ((unsigned char)s[max] & 0xc0) == 0x80)
        max--;
    return (int)max;
}

/* 1-based, in characters rather than bytes. */
static int character_at(const struct filter_parse *p, size_t pos)
{
    int n = 1;
    for (size_t i = 0; i < pos; i++)
        n += ((unsigned char)p->text[i] & 0xc0) != 0x80;
    return n;
}

/* "at character 5: …"; always STATUS_INVALID. */
__attribute__((format(printf, 3, 4))) static int fail(
    struct filter_parse *p, size_t pos, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    snprintf(p->err, p->errlen, "at character %d: %s", character_at(p, pos), text);
    return STATUS_INVALID;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_name(char c)
{
    return (c >= '0' && c <= '9') || (text_lower(c) >= 'a' && text_lower(c) <= 'z') || c == '_' ||
           c == '$' || (unsigned char)c >= 0x80;
}

static void skip_spaces(struct filter_parse *p)
{
    while (p->pos < p->len && is_space(p->text[p->pos]))
        p->pos++;
}

static bool at_end(const struct filter_parse *p)
{
    return p->pos == p->len;
}

static bool next_is(const struct filter_parse *p, char c)
{
    return !at_end(p) && p->text[p->pos] == c;
}

/* Steps over a keyword, in any case, that does not go on as a longer word. */
static bool take_word(struct filter_parse *p, const char *word)
{
    size_t len = strlen(word);
    if (p->len - p->pos < len || text_ncasecmp(p->text + p->pos, word, len) != 0)
        return false;
    if (p->pos + len < p->len && is_name(p->text[p->pos + len]))
        return false;
    p->pos += len;
    return true;
}

/*
 * Steps over a quoted string whose quotes are doubled inside and puts the plain text into the
 * scratch memory. NULL when the closing quote is missing.
 */
static const char *take_quoted(struct filter_parse *p, size_t *len)
{
    char quote = p->text[p->pos], *out = p->scratch;
    for (size_t i = p->pos + 1; i < p->len; i++) {
        if (p->text[i] == quote) {
            if (i + 1 == p->len || p->text[i + 1] != quote) {
                const char *start = p->scratch;
                *len = (size_t)(out - start);
                p->scratch = out;
                p->pos = i + 1;
                return start;
            }
            i++;
        }
        *out++ = p->text[i];
    }
    return NULL;
}

static bool is_rowid_name(const char *name, size_t len)
{
    return text_same_nocase("rowid", 5, name, len) || text_same_nocase("_rowid_", 7, name, len) ||
           text_same_nocase("oid", 3, name, len);
}

static bool can_filter(const struct column *c)
{
    return c->kind != COLUMN_VIRTUAL && c->kind != COLUMN_HIDDEN;
}

/* What may not be named is not there. */
static bool is_there(const struct filter_parse *p, int column)
{
    return !p->columns || (p->columns[column / 64] >> (column % 64) & 1);
}

static int fail_unknown_column(struct filter_parse *p, size_t pos, const char *name, size_t len)
{
    const struct table *t = p->table;
    char list[128] = "";
    size_t used = 0;
    for (int i = 0; i < t->column_count; i++) {
        if (!can_filter(&t->columns[i]) || !is_there(p, i))
            continue;
        size_t need = strlen(t->columns[i].name) + 2;
        if (used + need + sizeof(", …") > sizeof(list)) {
            strcpy(list + used, used ? ", …" : "…");
            break;
        }
        used += (size_t)sprintf(list + used, "%s%s", used ? ", " : "", t->columns[i].name);
    }
    return fail(p, pos, "table \"%.*s\" has no column \"%.*s\"; its columns are %s",
        clip(t->name, strlen(t->name), MAX_ECHO), t->name, clip(name, len, MAX_ECHO), name, list);
}

static int bind_column(struct filter_parse *p, size_t pos, const char *name, size_t len)
{
    int column = table_column(p->table, name, len);
    if (column >= 0 && !is_there(p, column))
        return fail_unknown_column(p, pos, name, len);
    if (column < 0 && is_rowid_name(name, len) && !p->table->without_rowid) {
        if (p->table->rowid_alias < 0 && p->table->key_count > 0)
            return fail(p, pos,
                "the rows of \"%.*s\" are named by its primary key, not the rowid, which is not "
                "reported: filter on the key's columns",
                clip(p->table->name, strlen(p->table->name), MAX_ECHO), p->table->name);
        p->term.column =
            (int16_t)(p->table->rowid_alias < 0 ? FILTER_ROWID : p->table->rowid_alias);
        p->term.collation = COLLATION_BINARY;
        return STATUS_OK;
    }
    if (column < 0)
        return fail_unknown_column(p, pos, name, len);
    if (!can_filter(&p->table->columns[column]))
        return fail(p, pos,
            "the values of \"%.*s\" are not stored (a VIRTUAL generated or hidden column), so it "
            "cannot be filtered on; use the columns it is computed from",
            clip(name, len, MAX_ECHO), name);
    p->term.column = (int16_t)column;
    p->term.collation = p->table->columns[column].collation;
    return STATUS_OK;
}

static int parse_column(struct filter_parse *p)
{
    skip_spaces(p);
    size_t start = p->pos, len;
    const char *name = p->text + start;
    if (at_end(p))
        return fail(p, start, "the filter is empty; write a condition, for example age>=18");
    if (next_is(p, '"')) {
        name = take_quoted(p, &len);
        if (!name)
            return fail(p, start, "the column's closing \" is missing, as in \"full name\"='Ann'");
        return bind_column(p, start, name, len);
    }
    while (p->pos < p->len && is_name(p->text[p->pos]))
        p->pos++;
    len = p->pos - start;
    if (len == 0)
        return fail(p, start,
            "a column name is expected here, as in age>=18; put names with other characters into "
            "double quotes");
    return bind_column(p, start, name, len);
}

static enum affinity affinity_of(const struct filter_parse *p)
{
    return p->term.column == FILTER_ROWID ? AFFINITY_INTEGER
                                          : p->table->columns[p->term.column].affinity;
}

static int add_value(struct filter_parse *p, const struct value *v)
{
    struct filter_term *t = &p->term;
    if (t->value_count == FILTER_MAX_VALUES) {
        snprintf(p->err, p->errlen, "the list has more than %d values; use several subscriptions",
            FILTER_MAX_VALUES);
        return STATUS_TOO_LARGE;
    }
    if (t->value_count == p->value_cap) {
        int cap = p->value_cap ? p->value_cap * 2 : 1;
        struct value *values = mem_realloc(p->values, (size_t)cap * sizeof(*values));
        if (!values)
            return STATUS_NOMEM;
        p->values = values;
        p->value_cap = cap;
    }
    p->values[t->value_count++] = *v;
    return STATUS_OK;
}

static int hex_digit(char c)
{
    char l = text_lower(c);
    if (l >= '0' && l <= '9')
        return l - '0';
    return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

static int parse_blob(struct filter_parse *p)
{
    size_t start = p->pos, pos = start + 2;
    char *out = p->scratch;
    while (pos + 1 < p->len && hex_digit(p->text[pos]) >= 0 && hex_digit(p->text[pos + 1]) >= 0) {
        *out++ = (char)(hex_digit(p->text[pos]) * 16 + hex_digit(p->text[pos + 1]));
        pos += 2;
    }
    if (pos == p->len || p->text[pos] != '\'')
        return fail(p, pos,
            "a blob is pairs of hexadecimal digits between quotes, as in x'00ff'; "
            "write 'x''…' for text that begins with x'");
    struct value v = {.p = p->scratch, .len = (uint32_t)(out - p->scratch), .type = VALUE_BLOB};
    p->scratch = out;
    p->pos = pos + 1;
    return add_value(p, &v);
}

static int parse_text(struct filter_parse *p)
{
    size_t start = p->pos, len;
    const char *s = take_quoted(p, &len);
    if (!s)
        return fail(p, start, "the closing ' is missing, as in name='Ann' (write '' for a quote)");
    char *unused;
    struct value v = {.p = s, .len = (uint32_t)len, .type = VALUE_TEXT};
    int rc = value_apply_affinity(&v, affinity_of(p), &unused);
    return rc < 0 ? rc : add_value(p, &v);
}

/* SQL's 0x1F, at most 64 bits, with a sign as SQL would apply it. */
static bool parse_hex(struct value *v, const char *s, size_t len)
{
    uint64_t n = 0;
    bool negative = len > 0 && s[0] == '-';
    size_t pos = len > 0 && (s[0] == '-' || s[0] == '+');
    if (len - pos < 3 || s[pos] != '0' || text_lower(s[pos + 1]) != 'x')
        return false;
    for (pos += 2; pos < len; pos++) {
        int digit = hex_digit(s[pos]);
        if (digit < 0 || n >> 60)
            return false;
        n = n << 4 | (uint64_t)digit;
    }
    *v = (struct value){.i = (int64_t)(negative ? -n : n), .type = VALUE_INTEGER};
    return true;
}

static int fail_null(struct filter_parse *p, size_t pos)
{
    const char *negation = p->term.op == FILTER_NE ? "not " : "";
    if (p->term.op == FILTER_EQ || p->term.op == FILTER_NE)
        return fail(p, pos,
            "nothing ever equals null; write \"is %snull\" to find it, or 'null' for the text",
            negation);
    return fail(p, pos, "nothing compares with null; write 'null' for the text, or \"is null\"");
}

static int add_bare(struct filter_parse *p, const char *s, size_t len)
{
    struct value v = {.p = s, .len = (uint32_t)len, .type = VALUE_TEXT};
    if (text_same_nocase(s, len, "null", 4))
        return fail_null(p, (size_t)(s - p->text));
    if (affinity_of(p) != AFFINITY_TEXT && !parse_hex(&v, s, len) &&
        value_parse_number(&v, s, len) == STATUS_NOMEM)
        return STATUS_NOMEM;
    return add_value(p, &v);
}

/* Text without quotes up to `end`; the space around it does not count. */
static int parse_bare(struct filter_parse *p, size_t end)
{
    size_t start = p->pos, last = end;
    while (last > start && is_space(p->text[last - 1]))
        last--;
    p->pos = end;
    return add_bare(p, p->text + start, last - start);
}

static bool at_blob(const struct filter_parse *p)
{
    return p->len - p->pos >= 2 && text_lower(p->text[p->pos]) == 'x' &&
           p->text[p->pos + 1] == '\'';
}

/* One value; bare text goes up to `end`. */
static int parse_value(struct filter_parse *p, size_t end)
{
    if (next_is(p, '\''))
        return parse_text(p);
    if (at_blob(p))
        return parse_blob(p);
    return parse_bare(p, end);
}

static int expect_end(struct filter_parse *p, const char *after)
{
    skip_spaces(p);
    if (at_end(p))
        return STATUS_OK;
    return fail(
        p, p->pos, "nothing may follow %s; give further conditions as a list of filters", after);
}

static size_t find_item_end(const struct filter_parse *p)
{
    size_t end = p->pos;
    while (end < p->len && p->text[end] != ',' && p->text[end] != ')')
        end++;
    return end;
}

static int parse_item(struct filter_parse *p)
{
    skip_spaces(p);
    if (next_is(p, ',') || next_is(p, ')'))
        return fail(p, p->pos, "a value is missing in the list; write '' for the empty text");
    int rc = parse_value(p, find_item_end(p));
    if (rc < 0)
        return rc;
    skip_spaces(p);
    if (next_is(p, ',') || next_is(p, ')'))
        return STATUS_OK;
    return fail(p, p->pos, "a comma or ) is expected here, as in id in (1,2,3)");
}

static int parse_list(struct filter_parse *p)
{
    skip_spaces(p);
    if (!next_is(p, '('))
        return fail(p, p->pos, "( is expected after \"in\", as in id in (1,2,3)");
    do {
        p->pos++;
        int rc = parse_item(p);
        if (rc < 0)
            return rc;
    } while (next_is(p, ','));
    p->pos++;
    return expect_end(p, "the list");
}

static int parse_null_test(struct filter_parse *p)
{
    skip_spaces(p);
    p->term.op = FILTER_IS_NULL;
    if (take_word(p, "not")) {
        p->term.op = FILTER_NOT_NULL;
        skip_spaces(p);
    }
    if (!take_word(p, "null"))
        return fail(p, p->pos, "only \"is null\" and \"is not null\" can be asked with \"is\"");
    return expect_end(p, "\"null\"");
}

static bool take_operator(struct filter_parse *p)
{
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        size_t len = strlen(operators[i].text);
        if (p->len - p->pos < len || memcmp(p->text + p->pos, operators[i].text, len) != 0)
            continue;
        p->term.op = operators[i].op;
        p->pos += len;
        return true;
    }
    return false;
}

static int parse_condition(struct filter_parse *p)
{
    int rc = parse_column(p);
    if (rc < 0)
        return rc;
    skip_spaces(p);
    if (take_word(p, "is"))
        return parse_null_test(p);
    if (take_word(p, "in")) {
        p->term.op = FILTER_IN;
        return parse_list(p);
    }
    if (!take_operator(p))
        return fail(p, p->pos,
            "an operator is expected after the column: one of = != < <= > >=, in (…), is null, "
            "is not null, as in age>=18");
    skip_spaces(p);
    rc = parse_value(p, p->len);
    return rc < 0 ? rc : expect_end(p, "the value");
}

static int check_text(struct filter_parse *p)
{
    if (p->len > FILTER_MAX_LENGTH) {
        snprintf(p->err, p->errlen, "the filter is longer than %d bytes", FILTER_MAX_LENGTH);
        return STATUS_TOO_LARGE;
    }
    const char *nul = p->len ? memchr(p->text, 0, p->len) : NULL;
    if (nul)
        return fail(p, (size_t)(nul - p->text), "a filter cannot contain a NUL character");
    if (!utf8_valid(p->text, p->len)) {
        snprintf(p->err, p->errlen, "the filter is not valid UTF-8");
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

int filter_parse(struct filter_parse *p)
{
    p->pos = 0;
    p->value_cap = 0;
    p->term = (struct filter_term){0};
    p->values = NULL;
    int rc = check_text(p);
    return rc < 0 ? rc : parse_condition(p);
}
