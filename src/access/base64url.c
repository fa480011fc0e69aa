#include "access/base64url.h"

#include "base/status.h"
#include "base/text.h"
#include <stdint.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int digit(char c)
{
    return c == '+' || c == '/' ? -1 : base64_digit(c == '-' ? '+' : c == '_' ? '/' : c);
}

int base64url_decode(struct buf *out, const char *s, size_t len)
{
    uint32_t bits = 0;
    int have = 0;

    if (len % 4 == 1)
        return STATUS_INVALID;
    for (size_t i = 0; i < len; i++) {
        int d = digit(s[i]);

        if (d < 0)
            return STATUS_INVALID;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have >= 8) {
            have -= 8;
            buf_putc(out, (char)(bits >> have));
            bits &= (1u << have) - 1;
        }
    }
    return bits ? STATUS_INVALID : buf_error(out);
}

void base64url_encode(struct buf *out, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t bits = 0;
    int have = 0;

    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | p[i];
        for (have += 8; have >= 6; bits &= (1u << have) - 1) {
            have -= 6;
            buf_putc(out, alphabet[bits >> have]);
        }
    }
    if (have)
        buf_putc(out, alphabet[bits << (6 - have)]);
}
