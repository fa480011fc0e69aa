#include "change/value.h"

#include "base/map.h"
#include "base/text.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values of different classes never compare equal; the classes are in SQLite's order. */
enum class { CLASS_NULL, CLASS_NUMBER, CLASS_TEXT, CLASS_BLOB };

static const uint8_t class_of[] = {
    [VALUE_NULL] = CLASS_NULL,
    [VALUE_INTEGER] = CLASS_NUMBER,
    [VALUE_REAL] = CLASS_NUMBER,
    [VALUE_TEXT] = CLASS_TEXT,
    [VALUE_BLOB] = CLASS_BLOB,
    [VALUE_ABSENT] = CLASS_NULL,
};

/* The first double past INT64_MAX. */
#define TWO_TO_63 9223372036854775808.0

/* Converting i to double first would lose digits past 2^53. */
static int compare_integer_real(int64_t i, double r)
{
    if (r < -TWO_TO_63)
        return 1;
    if (r >= TWO_TO_63)
        return -1;
    int64_t whole = (int64_t)r;
    if (i != whole)
        return i < whole ? -1 : 1;
    double d = (double)i;
    return (d > r) - (d < r);
}

static int compare_numbers(const struct value *a, const struct value *b)
{
    if (a->type == VALUE_INTEGER && b->type == VALUE_INTEGER)
        return (a->i > b->i) - (a->i < b->i);
    if (a->type == VALUE_REAL && b->type == VALUE_REAL)
        return (a->r > b->r) - (a->r < b->r);
    if (a->type == VALUE_INTEGER)
        return compare_integer_real(a->i, b->r);
    return -compare_integer_real(b->i, a->r);
}

static int compare_bytes(const char *a, size_t alen, const char *b, size_t blen)
{
    size_t n = alen < blen ? alen : blen;
    int c = n ? memcmp(a, b, n) : 0;
    return c ? c : (alen > blen) - (alen < blen);
}

/* SQLite's NOCASE looks no further than a NUL; behind one only the lengths count. */
static int compare_nocase(const struct value *a, const struct value *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    for (size_t i = 0; i < n; i++) {
        unsigned char x = (unsigned char)text_lower(a->p[i]);
        unsigned char y = (unsigned char)text_lower(b->p[i]);
        if (x != y)
            return x < y ? -1 : 1;
        if (x == 0)
            break;
    }
    return (a->len > b->len) - (a->len < b->len);
}

static size_t trimmed_len(const struct value *v)
{
    size_t n = v->len;
    while (n > 0 && v->p[n - 1] == ' ')
        n--;
    return n;
}

static int compare_text(const struct value *a, const struct value *b, enum collation collation)
{
    if (collation == COLLATION_NOCASE)
        return compare_nocase(a, b);
    if (collation == COLLATION_RTRIM)
        return compare_bytes(a->p, trimmed_len(a), b->p, trimmed_len(b));
    return compare_bytes(a->p, a->len, b->p, b->len);
}

int value_compare(const struct value *a, const struct value *b, enum collation collation)
{
    int class = class_of[a->type];
    if (class != class_of[b->type])
        return class < class_of[b->type] ? -1 : 1;
    switch (class) {
    case CLASS_NUMBER:
        return compare_numbers(a, b);
    case CLASS_TEXT:
        return compare_text(a, b, collation);
    case CLASS_BLOB:
        return compare_bytes(a->p, a->len, b->p, b->len);
    default:
        return 0;
    }
}

bool value_same(const struct value *a, const struct value *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case VALUE_INTEGER:
    case VALUE_REAL:
        return a->i == b->i;
    case VALUE_TEXT:
    case VALUE_BLOB:
        return a->len == b->len && (a->len == 0 || memcmp(a->p, b->p, a->len) == 0);
    default:
        return true;
    }
}

static uint64_t hash_real(double r)
{
    if (r >= -TWO_TO_63 && r < TWO_TO_63 && (double)(int64_t)r == r)
        return hash_u64((uint64_t)(int64_t)r);
    uint64_t bits;
    memcpy(&bits, &r, sizeof(bits));
    return hash_u64(bits);
}

static uint64_t hash_text(const struct value *v, enum collation collation)
{
    if (collation == COLLATION_RTRIM)
        return hash_bytes(v->p, trimmed_len(v));
    if (collation != COLLATION_NOCASE)
        return hash_bytes(v->p, v->len);
    const char *nul = v->len ? memchr(v->p, 0, v->len) : NULL;
    if (!nul)
        return hash_nocase(v->p, v->len);
    return hash_nocase(v->p, (size_t)(nul - v->p)) + v->len;
}

uint64_t value_hash(const struct value *v, enum collation collation)
{
    switch (v->type) {
    case VALUE_INTEGER:
        return hash_u64((uint64_t)v->i);
    case VALUE_REAL:
        return hash_real(v->r);
    case VALUE_TEXT:
        return hash_text(v, collation);
    case VALUE_BLOB:
        return ~hash_bytes(v->p, v->len);
    default:
        return 0;
    }
}

/* The shortest of 15, 16 or 17 digits that reads back as the same double. */
static void put_real(struct buf *out, double r)
{
    if (isnan(r)) {
        buf_puts(out, "null");
        return;
    }
    if (isinf(r)) {
        buf_puts(out, r > 0 ? "9e999" : "-9e999");
        return;
    }
    if (r > -1e15 && r < 1e15 && (double)(int64_t)r == r && !(r == 0 && signbit(r))) {
        buf_put_i64(out, (int64_t)r);
        buf_put(out, ".0", 2);
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, r);
        if (digits == 17 || strtod(text, NULL) == r)
            break;
    }
    buf_puts(out, text);
    if (!strpbrk(text, ".e"))
        buf_put(out, ".0", 2);
}

void value_put_json(struct buf *out, const struct value *v)
{
    switch (v->type) {
    case VALUE_INTEGER:
        buf_put_i64(out, v->i);
        break;
    case VALUE_REAL:
        put_real(out, v->r);
        break;
    case VALUE_TEXT:
        buf_put_json(out, v->p, v->len);
        break;
    case VALUE_BLOB:
        buf_puts(out, "{\"$base64\":\"");
        base64_encode(out, v->p, v->len);
        buf_put(out, "\"}", 2);
        break;
    default:
        buf_put(out, "null", 4);
        break;
    }
}
