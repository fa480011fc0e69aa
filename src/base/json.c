#include "base/json.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * jansson refuses integers past 64 bits and reals past the range of a double. Such numbers are
 * found in a pass over the text and rewritten: an integer gets an exponent, which makes it a real,
 * and what overflows a double becomes a finite stand-in, because jansson's reals cannot be infinite
 * either; json_get_real knows it.
 */
#define JSON_DEPTH 100

static const char infinite[] = "1.7976931348623139e308";

static bool number_byte(char c)
{
    return (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.' || c == 'e' || c == 'E';
}

static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\')
            p++;
    return p < end ? p + 1 : end;
}

static size_t digits(const char *p, const char *end)
{
    const char *start = p;

    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return (size_t)(p - start);
}

/*
 * All of it is a number (RFC 8259 section 6): anything else is left for jansson to refuse. *whole:
 * it has neither point nor exponent.
 */
static bool is_number(const char *p, const char *end, bool *whole)
{
    size_t n;

    p += p < end && *p == '-';
    n = digits(p, end);
    if (n == 0 || (n > 1 && *p == '0'))
        return false;
    p += n;
    *whole = p == end;
    if (p < end && *p == '.') {
        n = digits(++p, end);
        p += n;
    }
    if (n && p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        n = digits(p, end);
        p += n;
    }
    return n && p == end;
}

/* The double that it stands for, 0 where memory runs out. */
static double read_real(struct buf *out, const char *p, size_t len)
{
    char text[400], *copy = len < sizeof(text) ? text : mem_alloc(len + 1);
    double r;

    if (!copy) {
        out->err = STATUS_NOMEM;
        return 0;
    }
    memcpy(copy, p, len);
    copy[len] = '\0';
    r = strtod(copy, NULL);
    if (copy != text)
        mem_free(copy);
    return r;
}

static void copy_number(struct buf *out, const char *p, size_t len)
{
    bool whole, good = is_number(p, p + len, &whole);
    double r = good ? read_real(out, p, len) : 0;
    int64_t i;

    if (isinf(r)) {
        buf_printf(out, "%s%s", r < 0 ? "-" : "", infinite);
        return;
    }
    buf_put(out, p, len);
    if (good && whole && text_parse_i64(p, len, &i) < 0)
        buf_puts(out, "e0");
}

/* True when some number may need rewriting; *deepest is how deep it nests. */
static bool scan(const char *p, const char *end, int *deepest)
{
    bool suspicious = false;
    int depth = 0;

    *deepest = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        if (*p == '[' || *p == '{')
            *deepest = ++depth > *deepest ? depth : *deepest;
        else if (*p == ']' || *p == '}')
            depth--;
        if (*p >= '0' && *p <= '9') {
            const char *start = p;

            while (p < end && number_byte(*p))
                suspicious |= *p == 'e' || *p == 'E', p++;
            suspicious |= p - start >= 19;
            continue;
        }
        p++;
    }
    return suspicious;
}

static void rewrite(struct buf *out, const char *p, const char *end)
{
    while (p < end) {
        const char *start = p;

        if (*p == '"') {
            p = skip_string(p, end);
            buf_put(out, start, (size_t)(p - start));
        } else if (number_byte(*p) && *p != 'e' && *p != 'E') {
            while (p < end && number_byte(*p))
                p++;
            copy_number(out, start, (size_t)(p - start));
        } else {
            buf_putc(out, *p++);
        }
    }
}

double json_get_real(const json_t *j)
{
    double r = json_real_value(j);

    if (fabs(r) == strtod(infinite, NULL))
        return r < 0 ? -INFINITY : INFINITY;
    return r;
}

static json_t *load(const char *text, size_t len, char *err, size_t errlen)
{
    json_error_t e;
    json_t *j =
        json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &e);

    if (!j)
        snprintf(err, errlen, "line %d column %d: %s", e.line, e.column, e.text);
    return j;
}

json_t *json_read(const char *text, size_t len, char *err, size_t errlen)
{
    struct buf copy;
    json_t *j = NULL;
    int depth;
    bool suspicious = scan(text, text + len, &depth);

    if (len && memchr(text, '\0', len)) { /* jansson reads over one behind a number or a word */
        snprintf(err, errlen, "a NUL character stands in it");
        return NULL;
    }
    if (depth > JSON_DEPTH) {
        snprintf(err, errlen, "nested more than %d levels deep", JSON_DEPTH);
        return NULL;
    }
    if (!suspicious)
        return load(text, len, err, errlen);
    buf_init(&copy, 0);
    rewrite(&copy, text, text + len);
    if (buf_error(&copy))
        snprintf(err, errlen, "out of memory");
    else
        j = load(copy.data, copy.len, err, errlen);
    buf_fini(&copy);
    return j;
}
