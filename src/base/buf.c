#include "base/buf.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_fini(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf){.max = b->max};
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->err = 0;
}

void buf_truncate(struct buf *b, size_t len)
{
    if (len < b->len)
        b->len = len;
}

static char *grow(struct buf *b, size_t need)
{
    size_t cap = b->cap ? b->cap : 64;
    char *data;

    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    data = mem_realloc(b->data, cap);
    if (!data) {
        b->err = STATUS_NOMEM;
        return NULL;
    }
    b->data = data;
    b->cap = cap;
    return b->data + b->len;
}

char *buf_reserve(struct buf *b, size_t len)
{
    size_t need;

    if (b->err)
        return NULL;
    if (__builtin_add_overflow(b->len, len, &need) || (b->max && need > b->max)) {
        b->err = STATUS_TOO_LARGE;
        return NULL;
    }
    if (need <= b->cap && b->data)
        return b->data + b->len;
    return grow(b, need);
}

/* The common case, without a call: there is room, and no bound to look at. */
static bool fits(const struct buf *b, size_t n)
{
    return !b->err && !b->max && n <= b->cap - b->len;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    char *to;

    if (n == 0)
        return;
    to = fits(b, n) ? b->data + b->len : buf_reserve(b, n);
    if (to) {
        memcpy(to, p, n);
        b->len += n;
    }
}

void buf_putc(struct buf *b, char c)
{
    if (fits(b, 1))
        b->data[b->len++] = c;
    else
        buf_put(b, &c, 1);
}

void buf_puts(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    char digits[20];
    size_t at = sizeof(digits);

    for (; v >= 100; v /= 100)
        memcpy(&digits[at -= 2], &pairs[v % 100 * 2], 2);
    if (v >= 10)
        memcpy(&digits[at -= 2], &pairs[v * 2], 2);
    else
        digits[--at] = (char)('0' + v);
    buf_put(b, digits + at, sizeof(digits) - at);
}

void buf_put_i64(struct buf *b, int64_t v)
{
    if (v < 0)
        buf_putc(b, '-');
    buf_put_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;
    char *to;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    to = n < 0 ? NULL : buf_reserve(b, (size_t)n + 1);
    if (to) {
        vsnprintf(to, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

int buf_error(const struct buf *b)
{
    return b->err;
}

const char *buf_text(struct buf *b)
{
    char *end = buf_reserve(b, 1);

    if (!end)
        return NULL;
    *end = '\0';
    return b->data;
}

char *buf_take(struct buf *b, size_t *len)
{
    const char *text = buf_text(b);
    char *data = b->data;

    if (!text)
        return NULL;
    if (len)
        *len = b->len;
    *b = (struct buf){.max = b->max};
    return data;
}

/* The length of the valid UTF-8 sequence at s (left bytes remain), 0 when there is none. */
static size_t sequence(const unsigned char *s, size_t left)
{
    size_t n = s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

    if (n == 0 || n > left)
        return 0;
    return utf8_valid(s, n) ? n : 0;
}

static void put_escaped(struct buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};

    if (c == '"' || c == '\\' || (c < 32 && shorts[c])) {
        char two[2] = {'\\', c < 32 ? shorts[c] : (char)c};
        buf_put(b, two, 2);
    } else {
        char six[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        buf_put(b, six, 6);
    }
}

void buf_put_json(struct buf *b, const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t start = 0, i = 0;

    buf_putc(b, '"');
    while (i < len) {
        size_t n;

        if (p[i] >= 32 && p[i] < 0x80 && p[i] != '"' && p[i] != '\\') {
            i++;
            continue;
        }
        n = p[i] < 0x80 ? 0 : sequence(p + i, len - i);
        if (n) {
            i += n;
            continue;
        }
        buf_put(b, s + start, i - start);
        if (p[i] < 0x80)
            put_escaped(b, p[i]);
        else
            buf_put(b, "\xef\xbf\xbd", 3);
        start = ++i;
    }
    buf_put(b, s + start, len - start);
    buf_putc(b, '"');
}

void buf_put_json_text(struct buf *b, const char *s)
{
    if (s)
        buf_put_json(b, s, strlen(s));
    else
        buf_put(b, "null", 4);
}
