#include "dialect/sql_scan.h"

#include "base/status.h"
#include "base/text.h"
#include "capture/database.h"
#include "dialect/sql_json.h"

#include <stdlib.h>
#include <string.h>

/* p stands before what comes next; at the end of the text nothing is read. */
struct scan {
    const char *p, *end;
    struct sql_request *r;
    int64_t wait_ms;
    bool waits;
};

#define EACH_BYTE(c) (0x0101010101010101u * (c))

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

static bool take(struct scan *s, char c)
{
    skip_space(s);
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static bool take_word(struct scan *s, const char *word, size_t len)
{
    if ((size_t)(s->end - s->p) < len || memcmp(s->p, word, len) != 0)
        return false;
    s->p += len;
    return true;
}

/* The bytes that are `c` have their highest bit set, and perhaps bytes behind the first of them. */
static uint64_t equal_bytes(uint64_t word, uint8_t c)
{
    word ^= EACH_BYTE(c);
    return (word - EACH_BYTE(1)) & ~word & EACH_BYTE(0x80);
}

/* Up to the first quote, backslash or control character, or the end. *ascii: nothing else. */
static const char *skip_plain(const char *p, const char *end, bool *ascii)
{
    uint64_t high = 0;
    for (; end - p >= 8; p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        uint64_t control = (word - EACH_BYTE(0x20)) & ~word & EACH_BYTE(0x80);
        if (control | equal_bytes(word, '"') | equal_bytes(word, '\\'))
            break;
        high |= word;
    }
    for (; p < end && *p != '"' && *p != '\\' && (uint8_t)*p >= 0x20; p++)
        high |= (uint8_t)*p;
    *ascii = !(high & EACH_BYTE(0x80));
    return p;
}

static int hex4(const char *p)
{
    int n = 0;
    for (int i = 0; i < 4; i++) {
        char c = is_digit(p[i]) ? p[i] : (char)(p[i] | 0x20);
        if (!is_digit(c) && (c < 'a' || c > 'f'))
            return -1;
        n = n << 4 | (is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    return n;
}

static void put_utf8(struct buf *out, uint32_t c)
{
    char bytes[4] = {(char)c};
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len; len > 1 && i-- > 0; c >>= 6)
        bytes[i] = (char)(i ? 0x80 | (c & 0x3f) : first[len] | c);
    buf_put(out, bytes, len);
}

/* What follows "\u", with its second half where it is a surrogate. */
static bool unescape_unicode(struct scan *s, struct buf *out)
{
    int high = s->end - s->p >= 4 ? hex4(s->p) : -1, low;
    if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
        return false;
    s->p += 4;
    if (high < 0xd800 || high > 0xdfff) {
        put_utf8(out, (uint32_t)high);
        return true;
    }
    low = s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u' ? hex4(s->p + 2) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return false;
    s->p += 6;
    put_utf8(out, 0x10000 + ((uint32_t)(high - 0xd800) << 10 | (uint32_t)(low - 0xdc00)));
    return true;
}

static bool unescape(struct scan *s, struct buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->end - s->p < 2)
        return false;
    char c = s->p[1];
    const char *found = c ? strchr(from, c) : NULL;
    s->p += 2;
    if (found)
        buf_putc(out, to[found - from]);
    return found || (c == 'u' && unescape_unicode(s, out));
}

/* The rest of a string that began at `start`, into the request's memory, with a NUL behind it. */
static int copy_string(struct scan *s, const char *start, char **text, size_t *len)
{
    struct buf *out = &s->r->strings;
    bool ascii = true, all_ascii = true;
    size_t at = out->len;
    while (true) {
        s->p = skip_plain(start, s->end, &ascii);
        all_ascii &= ascii;
        buf_put(out, start, (size_t)(s->p - start));
        if (s->p == s->end || *s->p != '\\')
            break;
        if (!unescape(s, out))
            return STATUS_INVALID;
        start = s->p;
    }
    if (s->p == s->end || *s->p != '"')
        return STATUS_INVALID;
    s->p++;
    *text = out->data + at;
    *len = out->len - at;
    buf_putc(out, '\0');
    return all_ascii || utf8_valid(*text, *len) ? STATUS_OK : STATUS_INVALID;
}

/* Behind the opening quote. It is copied where it has escapes. */
static int read_string(struct scan *s, const char **text, size_t *len)
{
    const char *start = s->p;
    bool ascii;
    s->p = skip_plain(start, s->end, &ascii);
    if (s->p < s->end && *s->p == '\\') {
        char *copy = NULL;
        int status = copy_string(s, start, &copy, len);
        *text = copy;
        return status;
    }
    if (s->p == s->end || *s->p != '"')
        return STATUS_INVALID;
    *text = start;
    *len = (size_t)(s->p++ - start);
    return ascii || utf8_valid(start, *len) ? STATUS_OK : STATUS_INVALID;
}

/* Their value is right while there are at most 18. */
static bool read_digits(struct scan *s, uint64_t *value)
{
    const char *p = s->p, *start = p;
    uint64_t n = 0;
    for (; p < s->end && is_digit(*p); p++)
        n = n * 10 + (uint64_t)(*p - '0');
    s->p = p;
    *value = n;
    return p > start;
}

static bool skip_digits(struct scan *s)
{
    uint64_t value;
    return read_digits(s, &value);
}

/* From its first character. strtod is sure to stop, since something else must follow. */
static int read_number(struct scan *s, struct value *v)
{
    const char *start = s->p;
    bool whole = true;
    uint64_t n;
    s->p += *start == '-';
    const char *first = s->p;
    if (!read_digits(s, &n) || (*first == '0' && s->p - first > 1) || s->p == s->end)
        return STATUS_INVALID;
    v->type = VALUE_INTEGER;
    if (s->p - first <= 18 && *s->p != '.' && *s->p != 'e' && *s->p != 'E') {
        v->i = *start == '-' ? -(int64_t)n : (int64_t)n;
        return STATUS_OK;
    }
    if (s->p < s->end && *s->p == '.') {
        whole = false;
        s->p++;
        if (!skip_digits(s))
            return STATUS_INVALID;
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        whole = false;
        s->p++;
        s->p += s->p < s->end && (*s->p == '+' || *s->p == '-');
        if (!skip_digits(s))
            return STATUS_INVALID;
    }
    if (s->p == s->end)
        return STATUS_INVALID;
    if (whole && text_parse_i64(start, (size_t)(s->p - start), &v->i) == STATUS_OK)
        return STATUS_OK;
    v->type = VALUE_REAL;
    v->r = strtod(start, NULL);
    return STATUS_OK;
}

/* {"$base64":"…"}, behind the brace. */
static int read_blob(struct scan *s, struct value *v)
{
    struct buf *out = &s->r->strings;
    const char *text;
    size_t len, at = out->len;
    skip_space(s);
    if (!take_word(s, "\"$base64\"", 9) || !take(s, ':') || !take(s, '"'))
        return STATUS_INVALID;
    int status = read_string(s, &text, &len);
    /* With escapes it would be in that memory twice. */
    if (status < 0 || out->len > at || !take(s, '}'))
        return STATUS_INVALID;
    v->type = VALUE_BLOB;
    v->p = out->data + at;
    status = base64_decode(out, text, len);
    v->len = (uint32_t)(out->len - at);
    return status;
}

static int read_text(struct scan *s, struct value *v)
{
    size_t len;
    int status = read_string(s, &v->p, &len);
    v->type = VALUE_TEXT;
    v->len = (uint32_t)len;
    return status;
}

static int read_value(struct scan *s, struct value *v)
{
    skip_space(s);
    if (s->p == s->end)
        return STATUS_INVALID;
    *v = (struct value){.type = VALUE_NULL};
    if (*s->p == '-' || is_digit(*s->p))
        return read_number(s, v);
    if (take(s, '"'))
        return read_text(s, v);
    if (take_word(s, "null", 4))
        return STATUS_OK;
    if (take(s, '{'))
        return read_blob(s, v);
    v->type = VALUE_INTEGER;
    v->i = *s->p == 't';
    return take_word(s, "true", 4) || take_word(s, "false", 5) ? STATUS_OK : STATUS_INVALID;
}

static int read_params(struct scan *s, struct sql_statement *statement)
{
    if (!take(s, '['))
        return STATUS_INVALID;
    if (take(s, ']'))
        return STATUS_OK;
    do {
        struct value v;
        int status = read_value(s, &v);
        if (status == STATUS_OK)
            status = sql_statement_bind_lent(statement, &v);
        if (status < 0)
            return status;
    } while (take(s, ','));
    return take(s, ']') ? STATUS_OK : STATUS_INVALID;
}

static int read_sql(struct scan *s, struct sql_statement *statement)
{
    if (!take(s, '"') || copy_string(s, s->p, &statement->sql, &statement->len) < 0)
        return STATUS_INVALID;
    return memchr(statement->sql, '\0', statement->len) ? STATUS_INVALID : STATUS_OK;
}

/* A statement's member, whose name is next; each comes once. */
static int read_member(struct scan *s, struct sql_statement *statement, bool *params)
{
    skip_space(s);
    if (!statement->sql && take_word(s, "\"sql\"", 5))
        return take(s, ':') ? read_sql(s, statement) : STATUS_INVALID;
    if (!*params && take_word(s, "\"params\"", 8)) {
        *params = true;
        return take(s, ':') ? read_params(s, statement) : STATUS_INVALID;
    }
    return STATUS_INVALID;
}

static int read_statement(struct scan *s)
{
    struct sql_statement *statement = sql_request_add_lent(s->r);
    bool params = false;
    if (!statement)
        return STATUS_NOMEM;
    if (!take(s, '{'))
        return STATUS_INVALID;
    do {
        int status = read_member(s, statement, &params);
        if (status < 0)
            return status;
    } while (take(s, ','));
    return take(s, '}') && statement->sql ? STATUS_OK : STATUS_INVALID;
}

static int read_statements(struct scan *s)
{
    if (s->r->statement_count > 0 || !take(s, ':') || !take(s, '['))
        return STATUS_INVALID;
    s->r->transaction = true;
    do {
        int status = read_statement(s);
        if (status < 0)
            return status;
    } while (take(s, ','));
    return take(s, ']') ? STATUS_OK : STATUS_INVALID;
}

static int read_wait_ms(struct scan *s)
{
    struct value v;
    bool first = s->wait_ms < 0 && take(s, ':');
    skip_space(s);
    if (!first || s->p == s->end || !is_digit(*s->p) || read_number(s, &v) < 0 ||
        v.type != VALUE_INTEGER || v.i > SQL_JSON_WAIT_MAX)
        return STATUS_INVALID;
    s->wait_ms = v.i;
    return STATUS_OK;
}

static int read_wait(struct scan *s)
{
    bool good = !s->waits && take(s, ':') && take(s, '"') && take_word(s, "delivered\"", 10);
    s->waits = true;
    return good ? STATUS_OK : STATUS_INVALID;
}

/* A member of the body. `lone` is the one statement where there is no list of them. */
static int read_body_member(struct scan *s, struct sql_statement **lone, bool *params)
{
    skip_space(s);
    if (take_word(s, "\"wait\"", 6))
        return read_wait(s);
    if (take_word(s, "\"waitMs\"", 8))
        return read_wait_ms(s);
    if (take_word(s, "\"statements\"", 12))
        return read_statements(s);
    if (s->r->transaction)
        return STATUS_INVALID;
    if (!*lone)
        *lone = sql_request_add_lent(s->r);
    return *lone ? read_member(s, *lone, params) : STATUS_NOMEM;
}

static int read_body(struct scan *s)
{
    struct sql_statement *lone = NULL;
    bool params = false;
    if (!take(s, '{'))
        return STATUS_INVALID;
    do {
        int status = read_body_member(s, &lone, &params);
        if (status < 0)
            return status;
    } while (take(s, ','));
    bool whole = take(s, '}') && (s->r->transaction || (lone && lone->sql));
    skip_space(s);
    return whole && s->p == s->end && (s->waits || s->wait_ms < 0) ? STATUS_OK : STATUS_INVALID;
}

int sql_scan(struct sql_request *r, const char *text, size_t len, int64_t *wait_ms)
{
    struct scan s = {.p = text, .end = text + len, .r = r, .wait_ms = -1};
    /* All that is copied fits, each string with the NUL in place of a quote: it never moves. */
    int status = buf_reserve(&r->strings, len) ? read_body(&s) : STATUS_NOMEM;
    if (status < 0) {
        sql_request_fini(r);
        r->transaction = false;
        return status;
    }
    *wait_ms = s.waits && s.wait_ms < 0 ? SQL_JSON_WAIT_MS : s.wait_ms;
    return STATUS_OK;
}
