#include "cli/cell.h"
#include "base/json.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/term.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The fewest digits that read back as the same number, always with a point or an exponent. */
static void put_real(struct buf *out, double r)
{
    char text[40];

    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, r);
        if (strtod(text, NULL) == r)
            break;
    }
    buf_puts(out, text);
    if (!strpbrk(text, ".e"))
        buf_puts(out, ".0");
}

static void put_number(struct buf *out, json_t *value, const char *infinity)
{
    if (json_is_integer(value))
        buf_put_i64(out, json_integer_value(value));
    else if (isinf(json_get_real(value)))
        buf_printf(out, "%s%s", json_get_real(value) < 0 ? "-" : "", infinity);
    else
        put_real(out, json_get_real(value));
}

static void put_object(struct buf *out, json_t *value)
{
    const char *key, *comma = "";
    json_t *item;

    buf_putc(out, '{');
    for (void *i = json_object_iter(value); i; i = json_object_iter_next(value, i)) {
        key = json_object_iter_key(i);
        item = json_object_iter_value(i);
        buf_puts(out, comma);
        buf_put_json_text(out, key);
        buf_putc(out, ':');
        cell_put_json(out, item);
        comma = ",";
    }
    buf_putc(out, '}');
}

void cell_put_json(struct buf *out, json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        put_object(out, value);
        break;
    case JSON_ARRAY:
        buf_putc(out, '[');
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (i)
                buf_putc(out, ',');
            cell_put_json(out, json_array_get(value, i));
        }
        buf_putc(out, ']');
        break;
    case JSON_STRING:
        buf_put_json(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        put_number(out, value, "9e999");
        break;
    case JSON_TRUE:
        buf_puts(out, "true");
        break;
    case JSON_FALSE:
        buf_puts(out, "false");
        break;
    case JSON_NULL:
        buf_puts(out, "null");
        break;
    }
}

static void put_hex(struct buf *out, const char *p, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        buf_putc(out, digits[(unsigned char)p[i] >> 4]);
        buf_putc(out, digits[(unsigned char)p[i] & 15]);
    }
}

/* x'…' of {"$base64":"…"}, its digits cut to `max` columns; false when it is something else. */
static bool put_blob(struct buf *out, json_t *value, size_t max)
{
    const json_t *text = json_object_get(value, "$base64");
    struct buf bytes = {0};
    size_t shown;
    bool good;

    if (!json_is_string(text) || json_object_size(value) != 1)
        return false;
    good = base64_decode(&bytes, json_string_value(text), json_string_length(text)) == 0;
    if (good) {
        shown = max && bytes.len * 2 + 3 > max ? (max > 6 ? (max - 4) / 2 : 1) : bytes.len;
        buf_puts(out, "x'");
        put_hex(out, bytes.data, shown);
        buf_puts(out, shown < bytes.len ? "…'" : "'");
    }
    if (buf_error(&bytes))
        out->err = buf_error(&bytes);
    buf_fini(&bytes);
    return good;
}

static void put_csv_text(struct buf *out, const char *s, size_t len)
{
    bool plain = len > 0;

    for (size_t i = 0; plain && i < len; i++)
        plain = s[i] != '"' && s[i] != ',' && s[i] != '\n' && s[i] != '\r';
    plain = plain && s[0] != ' ' && s[len - 1] != ' ';
    if (plain) {
        buf_put(out, s, len);
        return;
    }
    buf_putc(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '"')
            buf_putc(out, '"');
        buf_putc(out, s[i]);
    }
    buf_putc(out, '"');
}

void cell_put_csv(struct buf *out, json_t *value)
{
    if (json_is_null(value) || (json_is_object(value) && put_blob(out, value, 0)))
        return;
    if (json_is_string(value)) {
        put_csv_text(out, json_string_value(value), json_string_length(value));
    } else if (json_is_number(value)) {
        put_number(out, value, "Inf");
    } else {
        struct buf text = {0};

        cell_put_json(&text, value);
        put_csv_text(out, buf_text(&text) ? text.data : "", text.len);
        if (buf_error(&text))
            out->err = buf_error(&text);
        buf_fini(&text);
    }
}

static size_t put_text(struct buf *out, json_t *value, size_t max, bool quoted)
{
    size_t width;

    if (!quoted)
        return term_put(out, json_string_value(value), json_string_length(value), max);
    buf_putc(out, '\'');
    width =
        term_put(out, json_string_value(value), json_string_length(value), max > 2 ? max - 2 : max);
    buf_putc(out, '\'');
    return width + 2;
}

size_t cell_put(struct buf *out, json_t *value, size_t max, bool quoted)
{
    size_t before = out->len;

    if (json_is_null(value))
        buf_puts(out, "NULL");
    else if (json_is_string(value))
        return put_text(out, value, max, quoted);
    else if (json_is_number(value))
        put_number(out, value, "Inf");
    else if (!json_is_object(value) || !put_blob(out, value, max))
        cell_put_json(out, value);
    return buf_error(out) ? 0 : term_width(out->data + before, out->len - before);
}

/* RFC 8259 section 6, and an integer only within 64 bits: another one would lose digits. */
static bool is_number(const char *s)
{
    const char *p = s + (*s == '-');
    size_t digits = strspn(p, "0123456789");
    int64_t i;

    if (digits == 0 || (digits > 1 && *p == '0'))
        return false;
    if (!p[digits])
        return text_parse_i64(s, strlen(s), &i) == 0;
    p += digits;
    if (*p == '.') {
        digits = strspn(++p, "0123456789");
        if (digits == 0)
            return false;
        p += digits;
    }
    if (*p == 'e' || *p == 'E') {
        p += 1 + (p[1] == '-' || p[1] == '+');
        digits = strspn(p, "0123456789");
        if (digits == 0)
            return false;
        p += digits;
    }
    return !*p;
}

/* 'it''s' -> "it's"; false when it is not quoted so. */
static bool put_unquoted(struct buf *out, const char *text, size_t len)
{
    struct buf plain = {0};
    bool good = len >= 2 && text[0] == '\'' && text[len - 1] == '\'';

    for (size_t i = 1; good && i < len - 1; i++) {
        if (text[i] == '\'') {
            good = i + 2 < len && text[i + 1] == '\'';
            i++;
        }
        buf_putc(&plain, text[i]);
    }
    if (good)
        buf_put_json(out, plain.data, plain.len);
    if (buf_error(&plain))
        out->err = buf_error(&plain);
    buf_fini(&plain);
    return good;
}

static int hex(char c)
{
    c = text_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool put_blob_param(struct buf *out, const char *text, size_t len)
{
    struct buf bytes = {0};
    bool good = len >= 3 && (text[0] == 'x' || text[0] == 'X') && text[1] == '\'' &&
                text[len - 1] == '\'' && len % 2 == 1;

    for (size_t i = 2; good && i + 1 < len; i += 2) {
        int high = hex(text[i]), low = hex(text[i + 1]);

        good = high >= 0 && low >= 0;
        buf_putc(&bytes, (char)(high << 4 | low));
    }
    if (good) {
        buf_puts(out, "{\"$base64\":\"");
        base64_encode(out, bytes.data, bytes.len);
        buf_puts(out, "\"}");
    }
    if (buf_error(&bytes))
        out->err = buf_error(&bytes);
    buf_fini(&bytes);
    return good;
}

int cell_put_param(struct buf *out, const char *text)
{
    size_t len = strlen(text);

    if (!utf8_valid(text, len))
        return STATUS_INVALID;
    if (text_casecmp(text, "null") == 0)
        buf_puts(out, "null");
    else if (is_number(text))
        buf_puts(out, text);
    else if (!put_unquoted(out, text, len) && !put_blob_param(out, text, len))
        buf_put_json(out, text, len);
    return buf_error(out);
}
