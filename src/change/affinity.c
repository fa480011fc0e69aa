#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "change/value.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool contains(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (; *text; text++)
        if (text_ncasecmp(text, word, len) == 0)
            return true;
    return false;
}

enum affinity affinity_of_type(const char *declared)
{
    /* In the order of datatype3 section 3.1: the first rule that applies wins. */
    static const struct {
        const char *word;
        enum affinity affinity;
    } rules[] = {
        {"INT", AFFINITY_INTEGER},
        {"CHAR", AFFINITY_TEXT},
        {"CLOB", AFFINITY_TEXT},
        {"TEXT", AFFINITY_TEXT},
        {"BLOB", AFFINITY_BLOB},
        {"REAL", AFFINITY_REAL},
        {"FLOA", AFFINITY_REAL},
        {"DOUB", AFFINITY_REAL},
    };
    if (!declared || !*declared)
        return AFFINITY_BLOB;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (contains(declared, rules[i].word))
            return rules[i].affinity;
    return AFFINITY_NUMERIC;
}

/* SQLite's idea of a space, which is not the locale's. */
static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t skip_digits(const char *s, size_t pos, size_t len)
{
    while (pos < len && is_digit(s[pos]))
        pos++;
    return pos;
}

enum number_form { NOT_A_NUMBER, WHOLE_NUMBER, FRACTION };

/* [+-] digits [. digits] [e [+-] digits], with a digit on at least one side of the point. */
static enum number_form number_form(const char *s, size_t len)
{
    enum number_form form = WHOLE_NUMBER;
    size_t pos = len > 0 && (s[0] == '-' || s[0] == '+');
    size_t start = pos;
    pos = skip_digits(s, pos, len);
    size_t digits = pos - start;
    if (pos < len && s[pos] == '.') {
        form = FRACTION;
        start = ++pos;
        pos = skip_digits(s, pos, len);
        digits += pos - start;
    }
    if (digits == 0)
        return NOT_A_NUMBER;
    if (pos < len && (s[pos] == 'e' || s[pos] == 'E')) {
        form = FRACTION;
        pos++;
        pos += pos < len && (s[pos] == '-' || s[pos] == '+');
        start = pos;
        pos = skip_digits(s, pos, len);
        if (pos == start)
            return NOT_A_NUMBER;
    }
    return pos == len ? form : NOT_A_NUMBER;
}

static int parse_real(double *r, const char *s, size_t len)
{
    char local[64], *copy = local;
    if (len >= sizeof(local)) {
        copy = mem_strndup(s, len);
        if (!copy)
            return STATUS_NOMEM;
    } else {
        memcpy(local, s, len);
        local[len] = 0;
    }
    *r = strtod(copy, NULL);
    if (copy != local)
        mem_free(copy);
    return STATUS_OK;
}

static bool parse_integer(int64_t *i, const char *s, size_t len)
{
    bool negative = s[0] == '-';
    uint64_t limit = (uint64_t)INT64_MAX + negative, v = 0;
    for (size_t pos = negative || s[0] == '+'; pos < len; pos++) {
        uint64_t digit = (uint64_t)(s[pos] - '0');
        if (v > (limit - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *i = (int64_t)(negative ? -v : v);
    return true;
}

int value_parse_number(struct value *v, const char *s, size_t len)
{
    while (len > 0 && is_space(s[0]))
        s++, len--;
    while (len > 0 && is_space(s[len - 1]))
        len--;
    enum number_form form = number_form(s, len);
    int64_t i;
    if (form == NOT_A_NUMBER)
        return STATUS_INVALID;
    if (form == WHOLE_NUMBER && parse_integer(&i, s, len)) {
        *v = (struct value){.i = i, .type = VALUE_INTEGER};
        return STATUS_OK;
    }
    double r;
    int rc = parse_real(&r, s, len);
    if (rc == STATUS_OK)
        *v = (struct value){.r = r, .type = VALUE_REAL};
    return rc;
}

/* As SQLite casts REAL to TEXT: 15 digits, and always a point ("1.0", "1.0e+20"). */
static void format_real(char *out, size_t size, double r)
{
    if (isinf(r)) {
        snprintf(out, size, "%s", r > 0 ? "Inf" : "-Inf");
        return;
    }
    char digits[32];
    snprintf(digits, sizeof(digits), "%.15g", r == 0 ? 0.0 : r);
    size_t whole = strcspn(digits, "e");
    const char *point = memchr(digits, '.', whole) ? "" : ".0";
    snprintf(out, size, "%.*s%s%s", (int)whole, digits, point, digits + whole);
}

static int number_to_text(struct value *v, char **text)
{
    char out[48];
    if (v->type == VALUE_INTEGER)
        snprintf(out, sizeof(out), "%lld", (long long)v->i);
    else
        format_real(out, sizeof(out), v->r);
    *text = mem_strdup(out);
    if (!*text)
        return STATUS_NOMEM;
    *v = (struct value){.p = *text, .len = (uint32_t)strlen(out), .type = VALUE_TEXT};
    return STATUS_OK;
}

int value_apply_affinity(struct value *v, enum affinity affinity, char **text)
{
    *text = NULL;
    if (affinity == AFFINITY_TEXT && (v->type == VALUE_INTEGER || v->type == VALUE_REAL))
        return number_to_text(v, text);
    if (affinity == AFFINITY_TEXT || affinity == AFFINITY_BLOB || v->type != VALUE_TEXT)
        return STATUS_OK;
    int rc = value_parse_number(v, v->p, v->len);
    return rc == STATUS_INVALID ? STATUS_OK : rc;
}
