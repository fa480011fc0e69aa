#include "fuzz.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "dialect/native_args.h"
#include <string.h>

/* JSON texts, against a reading of RFC 8259 that shares nothing with the server's. */
struct reading {
    const uint8_t *p, *end;
    int depth, deepest;
    uint64_t integers; /* without point or exponent, in 64 bits */
    uint64_t values;
};

static bool take(struct reading *r, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(r->end - r->p) < len || memcmp(r->p, word, len) != 0)
        return false;
    r->p += len;
    return true;
}

static void spaces(struct reading *r)
{
    while (r->p < r->end && memchr(" \t\r\n", *r->p, 4))
        r->p++;
}

static size_t digits(struct reading *r)
{
    const uint8_t *start = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return (size_t)(r->p - start);
}

static bool read_number(struct reading *r)
{
    const char *start = (const char *)r->p;
    bool whole = true;
    int64_t i;
    take(r, "-");
    if (!take(r, "0") && digits(r) == 0)
        return false;
    if (take(r, ".")) {
        whole = false;
        if (digits(r) == 0)
            return false;
    }
    if (take(r, "e") || take(r, "E")) {
        whole = false;
        if (!take(r, "+"))
            take(r, "-");
        if (digits(r) == 0)
            return false;
    }
    r->integers += whole && text_parse_i64(start, (size_t)((const char *)r->p - start), &i) == 0;
    return true;
}

static int read_unit(struct reading *r)
{
    int unit = 0;
    if (r->end - r->p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const char *hex = "0123456789abcdefABCDEF";
        const char *found = *r->p ? strchr(hex, *r->p) : NULL;
        if (!found)
            return -1;
        unit = unit << 4 | (int)(found - hex > 15 ? found - hex - 6 : found - hex);
        r->p++;
    }
    return unit;
}

/* Behind the backslash. */
static bool read_escape(struct reading *r)
{
    if (!take(r, "u"))
        return r->p < r->end && *r->p && strchr("\"\\/bfnrt", *r->p++);
    int unit = read_unit(r);
    if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return false;
    if (unit < 0xd800 || unit > 0xdbff)
        return true;
    unit = take(r, "\\u") ? read_unit(r) : -1;
    return unit >= 0xdc00 && unit <= 0xdfff;
}

static bool read_string(struct reading *r)
{
    if (!take(r, "\""))
        return false;
    while (r->p < r->end && *r->p != '"') {
        if (*r->p < ' ')
            return false;
        if (*r->p++ == '\\' && !read_escape(r))
            return false;
    }
    return take(r, "\"");
}

static bool read_value(struct reading *r);

static bool read_members(struct reading *r, const char *end, bool named)
{
    bool good = true;
    if (++r->depth > r->deepest)
        r->deepest = r->depth;
    spaces(r);
    if (!take(r, end)) {
        do {
            spaces(r);
            good = r->depth <= 110;
            if (good && named) {
                good = read_string(r);
                spaces(r);
                good = good && take(r, ":");
            }
            good = good && read_value(r);
            spaces(r);
        } while (good && take(r, ","));
        good = good && take(r, end);
    }
    r->depth--;
    return good;
}

static bool read_value(struct reading *r)
{
    spaces(r);
    r->values++;
    if (r->p == r->end)
        return false;
    if (*r->p == '"')
        return read_string(r);
    if (take(r, "{"))
        return read_members(r, "}", true);
    if (take(r, "["))
        return read_members(r, "]", false);
    return take(r, "true") || take(r, "false") || take(r, "null") || read_number(r);
}

static bool read_text(struct reading *r, const uint8_t *data, size_t size)
{
    *r = (struct reading){.p = data, .end = data + size};
    if (!utf8_valid(data, size) || !read_value(r))
        return false;
    spaces(r);
    return r->p == r->end;
}

static void count(const json_t *j, uint64_t *values, uint64_t *integers)
{
    json_t *inner = (json_t *)(uintptr_t)j, *value;
    const char *name;
    size_t i;
    ++*values;
    *integers += json_is_integer(j);
    json_array_foreach(inner, i, value) count(value, values, integers);
    json_object_foreach(inner, name, value) count(value, values, integers);
}

/* What was read and is written is read as the same again. */
static void round_trip(const json_t *j)
{
    struct buf out = {0};
    char err[256] = "";
    native_put_json(&out, j);
    if (buf_error(&out) == 0) {
        char *copy = (char *)fuzz_copy(out.data, out.len);
        json_t *again = json_read(copy, out.len, err, sizeof(err));
        REQUIRE(mem_fail_hit() || (again && json_equal(j, again)));
        json_decref(again);
        free(copy);
    }
    buf_fini(&out);
}

/* Which of what RFC 8259 allows the server refuses. */
static bool may_refuse(const struct reading *r, const char *err)
{
    return r->deepest > 100 ? strstr(err, "nested more than") != NULL
                            : strstr(err, "duplicate object key") || strstr(err, "NUL byte");
}

void fuzz_json(const uint8_t *data, size_t size)
{
    struct reading r;
    char err[256] = "";
    json_t *j = json_read((const char *)data, size, err, sizeof(err));
    bool good = read_text(&r, data, size);
    REQUIRE(j || err[0]);
    if (j) {
        uint64_t values = 0, integers = 0;
        REQUIRE(good && r.deepest <= 100);
        fuzz_accepted++;
        count(j, &values, &integers);
        REQUIRE(values == r.values && integers == r.integers);
        round_trip(j);
    } else {
        REQUIRE(!good || may_refuse(&r, err) || mem_fail_hit());
    }
    json_decref(j);
}
