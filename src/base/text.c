#include "base/text.h"
#include "base/status.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

char text_lower(char c)
{
    return lower(c);
}

int text_ncasecmp(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char x = (unsigned char)lower(a[i]), y = (unsigned char)lower(b[i]);

        if (x != y)
            return x < y ? -1 : 1;
        if (!x)
            return 0;
    }
    return 0;
}

int text_casecmp(const char *a, const char *b)
{
    return text_ncasecmp(a, b, SIZE_MAX);
}

bool text_same_nocase(const char *a, size_t alen, const char *b, size_t blen)
{
    if (alen != blen)
        return false;
    for (size_t i = 0; i < alen; i++)
        if (a[i] != b[i] && lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

/*
 * The state is 0 between characters; inside one it holds the number of bytes still due (low byte)
 * and the range the next byte must lie in (second byte lowest, third byte highest).
 */
static uint32_t utf8_lead(unsigned char c)
{
    if (c >= 0xc2 && c <= 0xdf)
        return 1 | 0x80 << 8 | 0xbf << 16;
    if (c == 0xe0)
        return 2 | 0xa0 << 8 | 0xbf << 16;
    if (c == 0xed)
        return 2 | 0x80 << 8 | 0x9f << 16;
    if (c >= 0xe1 && c <= 0xef)
        return 2 | 0x80 << 8 | 0xbf << 16;
    if (c == 0xf0)
        return 3 | 0x90 << 8 | 0xbf << 16;
    if (c >= 0xf1 && c <= 0xf3)
        return 3 | 0x80 << 8 | 0xbf << 16;
    if (c == 0xf4)
        return 3 | 0x80 << 8 | 0x8f << 16;
    return 0;
}

bool utf8_feed(uint32_t *state, const void *data, size_t len)
{
    const unsigned char *p = data, *end = p + len;
    uint32_t s = *state;

    while (p < end) {
        uint64_t word;

        if (s == 0 && end - p >= 8) {
            memcpy(&word, p, 8);
            if (!(word & 0x8080808080808080u)) {
                p += 8;
                continue;
            }
        }
        if (s == 0) {
            if (*p >= 0x80 && !(s = utf8_lead(*p)))
                return false;
        } else {
            if (*p < (s >> 8 & 0xff) || *p > (s >> 16 & 0xff))
                return false;
            s = (s & 0xff) == 1 ? 0 : ((s & 0xff) - 1) | 0x80 << 8 | 0xbf << 16;
        }
        p++;
    }
    *state = s;
    return true;
}

bool utf8_valid(const void *p, size_t len)
{
    uint32_t state = 0;

    return utf8_feed(&state, p, len) && state == 0;
}

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct buf *out, const void *data, size_t len)
{
    const unsigned char *p = data;

    for (; len >= 3; p += 3, len -= 3) {
        char four[4] = {base64_alphabet[p[0] >> 2], base64_alphabet[(p[0] & 3) << 4 | p[1] >> 4],
            base64_alphabet[(p[1] & 15) << 2 | p[2] >> 6], base64_alphabet[p[2] & 63]};
        buf_put(out, four, 4);
    }
    if (len) {
        unsigned second = len == 2 ? p[1] : 0;
        char four[4] = {base64_alphabet[p[0] >> 2], base64_alphabet[(p[0] & 3) << 4 | second >> 4],
            len == 2 ? base64_alphabet[(second & 15) << 2] : '=', '='};
        buf_put(out, four, 4);
    }
}

int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(struct buf *out, const char *s, size_t len)
{
    size_t pad = 0;

    if (len % 4)
        return STATUS_INVALID;
    while (pad < 2 && pad < len && s[len - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i < len; i += 4) {
        bool last = i + 4 == len;
        size_t digits = last ? 4 - pad : 4;
        uint32_t bits = 0;
        char three[3];

        for (size_t k = 0; k < 4; k++) {
            int d = k < digits ? base64_digit(s[i + k]) : 0;

            if (d < 0)
                return STATUS_INVALID;
            bits = bits << 6 | (uint32_t)d;
        }
        if (digits < 4 && bits & (digits == 3 ? 0xff : 0xffff))
            return STATUS_INVALID;
        three[0] = (char)(bits >> 16);
        three[1] = (char)(bits >> 8);
        three[2] = (char)bits;
        buf_put(out, three, digits - 1);
    }
    return buf_error(out);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int text_url_decode(struct buf *out, const char *s, size_t len, bool form)
{
    for (size_t i = 0; i < len; i++) {
        char c = s[i];

        if (c == '%') {
            if (len - i < 3 || hex_digit(s[i + 1]) < 0 || hex_digit(s[i + 2]) < 0)
                return STATUS_INVALID;
            c = (char)(hex_digit(s[i + 1]) << 4 | hex_digit(s[i + 2]));
            i += 2;
        } else if (c == '+' && form) {
            c = ' ';
        }
        buf_putc(out, c);
    }
    return buf_error(out);
}

void text_url_encode(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if ((*s >= '0' && *s <= '9') || (text_lower(*s) >= 'a' && text_lower(*s) <= 'z') ||
            strchr("-._~", *s))
            buf_putc(out, *s);
        else
            buf_printf(out, "%%%02X", (unsigned char)*s);
    }
}

static void random_bytes(void *p, size_t len)
{
    char *to = p;

    while (len) {
        ssize_t n = getrandom(to, len, 0);

        if (n < 0 && errno != EINTR)
            abort();
        if (n > 0) {
            to += n;
            len -= (size_t)n;
        }
    }
}

uint64_t random_u64(void)
{
    uint64_t v;

    random_bytes(&v, sizeof(v));
    return v;
}

void text_random(char *out, size_t len)
{
    static const char alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    size_t i = 0;

    while (i < len) {
        unsigned char byte;

        random_bytes(&byte, 1);
        if (byte < 252)
            out[i++] = alphabet[byte % 36];
    }
    out[len] = '\0';
}

struct unit {
    const char *name;
    double factor;
};

static int parse_with_unit(const char *s, const struct unit *units, double max, double *result)
{
    char *end;
    double v;

    if (*s < '0' || *s > '9')
        return STATUS_INVALID;
    v = strtod(s, &end);
    while (*end == ' ')
        end++;
    for (; units->name; units++) {
        if (text_casecmp(end, units->name) != 0)
            continue;
        v = round(v * units->factor);
        if (!(v <= max))
            return STATUS_INVALID;
        *result = v;
        return 0;
    }
    return STATUS_INVALID;
}

int text_parse_size(const char *s, uint64_t *bytes)
{
    static const struct unit units[] = {{"", 1}, {"b", 1}, {"k", 1024}, {"kb", 1e3}, {"kib", 1024},
        {"m", 1 << 20}, {"mb", 1e6}, {"mib", 1 << 20}, {"g", 1 << 30}, {"gb", 1e9},
        {"gib", 1 << 30}, {NULL, 0}};
    double v;

    if (parse_with_unit(s, units, 9e15, &v) < 0)
        return STATUS_INVALID;
    *bytes = (uint64_t)v;
    return 0;
}

int text_parse_duration(const char *s, int64_t *ms)
{
    static const struct unit units[] = {{"", 1e3}, {"s", 1e3}, {"ms", 1}, {"m", 6e4}, {"min", 6e4},
        {"h", 36e5}, {"d", 864e5}, {NULL, 0}};
    double v;

    if (parse_with_unit(s, units, 9e15, &v) < 0)
        return STATUS_INVALID;
    *ms = (int64_t)v;
    return 0;
}

int text_parse_i64(const char *s, size_t len, int64_t *v)
{
    bool negative = len && s[0] == '-';
    uint64_t n = 0, max = (uint64_t)INT64_MAX + negative;
    size_t i = negative || (len && s[0] == '+');

    if (i == len)
        return STATUS_INVALID;
    for (; i < len; i++) {
        unsigned d = (unsigned)s[i] - '0';

        if (d > 9 || n > (max - d) / 10)
            return STATUS_INVALID;
        n = n * 10 + d;
    }
    *v = negative ? (int64_t)(0 - n) : (int64_t)n;
    return 0;
}
