#include "access/rule.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include <math.h>
#include <string.h>

#define MAX_NAME 128

/* Where in a condition it stands, read just as filter/filter_parse.c reads it. */
enum part {
    COLUMN, /* or behind it, before the operator */
    VALUE,  /* one begins here */
    BEHIND, /* the beginning of a value: nothing is special any more but the end of a list's item */
};

struct scan {
    struct rule *rule;
    const char *text;
    size_t pos;
    enum part part;
    bool list;
    struct buf *err;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int fail(struct scan *s, const char *what)
{
    buf_printf(s->err, "at character %zu: %s", s->pos + 1, what);
    return STATUS_INVALID;
}

/* Quotes are doubled inside. */
static int skip_quoted(struct scan *s)
{
    char quote = s->text[s->pos];
    const char *end = strchr(s->text + s->pos + 1, quote);

    while (end && end[1] == quote)
        end = strchr(end + 2, quote);
    if (!end)
        return fail(s, "the closing quote is missing");
    s->pos = (size_t)(end - s->text) + 1;
    return 0;
}

/* A value begins here, and nothing behind it would go on. */
static bool stands_alone(const struct scan *s, size_t end)
{
    while (is_space(s->text[end]))
        end++;
    return s->part == VALUE &&
           (s->list ? s->text[end] == ',' || s->text[end] == ')' : s->text[end] == '\0');
}

static int take_claim(struct scan *s)
{
    struct rule *r = s->rule;
    const char *name = s->text + s->pos + 1;
    size_t len = strcspn(name, "{}'\"");
    struct rule_claim *claims;

    if (name[len] != '}' || len == 0 || len > MAX_NAME)
        return fail(s, "the name of a claim is expected between { and }, as in {sub}");
    if (!stands_alone(s, s->pos + len + 2))
        return fail(
            s, "a claim is a whole value, as in user_id={sub}; put text with { into quotes");
    claims = mem_realloc(r->claims, (size_t)(r->claim_count + 1) * sizeof(*claims));
    if (!claims)
        return STATUS_NOMEM;
    r->claims = claims;
    claims += r->claim_count;
    claims->start = s->pos;
    claims->end = s->pos + len + 2;
    claims->name = mem_strndup(name, len);
    if (!claims->name)
        return STATUS_NOMEM;
    r->claim_count++;
    s->pos = claims->end;
    s->part = BEHIND;
    return 0;
}

static bool at_operator(const char *p)
{
    return strchr("=<>", *p) || (*p == '!' && p[1] == '=');
}

static void step(struct scan *s)
{
    const char *p = s->text + s->pos;

    s->pos++;
    if (s->part == COLUMN && *p == '(') {
        s->list = true;
        s->part = VALUE;
    } else if (s->part == COLUMN && at_operator(p)) {
        s->pos += p[1] == '=' || (p[0] == '<' && p[1] == '>');
        s->part = VALUE;
    } else if (s->list && (*p == ',' || *p == ')')) {
        s->list = *p == ',';
        s->part = s->list ? VALUE : BEHIND;
    } else if (s->part == VALUE && !is_space(*p)) {
        s->part = BEHIND;
    }
}

static int take_value(struct scan *s, size_t prefix)
{
    s->part = BEHIND;
    s->pos += prefix;
    return skip_quoted(s);
}

static int take_claims(struct rule *r, struct buf *err)
{
    struct scan s = {.rule = r, .text = r->text, .err = err};
    int status = 0;

    while (status == 0 && s.text[s.pos]) {
        const char *p = s.text + s.pos;

        if (*p == '{')
            status = take_claim(&s);
        else if (*p == '}')
            status = fail(&s, "there is no { before this }");
        else if (s.part == COLUMN && *p == '"')
            status = skip_quoted(&s);
        else if (s.part == VALUE && *p == '\'')
            status = take_value(&s, 0);
        else if (s.part == VALUE && (*p == 'x' || *p == 'X') && p[1] == '\'')
            status = take_value(&s, 1);
        else
            step(&s);
    }
    return status;
}

struct rule *rule_new(const char *text, struct buf *err, int *status)
{
    struct rule *r = mem_zalloc(sizeof(*r));

    *status = STATUS_NOMEM;
    if (!r)
        return NULL;
    r->text = mem_strdup(text);
    if (r->text)
        *status = take_claims(r, err);
    if (*status == 0)
        return r;
    rule_free(r);
    return NULL;
}

void rule_free(struct rule *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->claim_count; i++)
        mem_free(r->claims[i].name);
    mem_free(r->claims);
    mem_free(r->text);
    mem_free(r);
}

static void put_quoted(struct buf *out, const char *s, size_t len)
{
    buf_putc(out, '\'');
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '\'')
            buf_putc(out, '\'');
        buf_putc(out, s[i]);
    }
    buf_putc(out, '\'');
}

static bool put_value(struct buf *out, const json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_STRING:
        if (strlen(json_string_value(v)) != json_string_length(v))
            return false; /* a filter's text has no NUL */
        put_quoted(out, json_string_value(v), json_string_length(v));
        return true;
    case JSON_INTEGER:
        buf_put_i64(out, json_integer_value(v));
        return true;
    case JSON_REAL:
        if (!isfinite(json_get_real(v)))
            return false;
        buf_printf(out, "%.17g", json_get_real(v));
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        buf_putc(out, json_is_true(v) ? '1' : '0');
        return true;
    default:
        return false;
    }
}

bool rule_put(const struct rule *r, const json_t *claims, struct buf *out)
{
    size_t pos = 0;

    for (int i = 0; i < r->claim_count; i++) {
        const struct rule_claim *c = &r->claims[i];

        buf_put(out, r->text + pos, c->start - pos);
        if (!put_value(out, json_object_get(claims, c->name)))
            return false;
        pos = c->end;
    }
    buf_puts(out, r->text + pos);
    return true;
}
