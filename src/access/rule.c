#include "access/rule.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"
#include <math.h>
#include <string.h>

#define MAX_NAME 128

struct scan {
    struct rule *rule;
    const char *text;
    size_t pos;
    char before; /* the last character that is no space */
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

static int skip_quoted(struct scan *s)
{
    char quote = s->text[s->pos];
    const char *end = strchr(s->text + s->pos + 1, quote);

    if (!end)
        return fail(s, "the closing quote is missing");
    s->pos = (size_t)(end - s->text) + 1;
    s->before = quote;
    return 0;
}

/* Only after an operator or within a list, and with nothing behind it that would go on. */
static bool stands_alone(const struct scan *s, size_t end)
{
    while (is_space(s->text[end]))
        end++;
    return s->before && strchr("=<>(,", s->before) && strchr(",)", s->text[end]);
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
    s->before = '}';
    return 0;
}

static int take_claims(struct rule *r, struct buf *err)
{
    struct scan s = {.rule = r, .text = r->text, .err = err};
    int status = 0;

    while (status == 0 && s.text[s.pos]) {
        char c = s.text[s.pos];

        if (c == '\'' || c == '"') {
            status = skip_quoted(&s);
        } else if (c == '{') {
            status = take_claim(&s);
        } else if (c == '}') {
            status = fail(&s, "there is no { before this }");
        } else {
            s.before = is_space(c) ? s.before : c;
            s.pos++;
        }
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
