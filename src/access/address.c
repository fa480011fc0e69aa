#include "access/address.h"

#include "base/status.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <string.h>

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

int address_parse(struct address *out, const char *s, size_t len)
{
    char text[INET6_ADDRSTRLEN];
    struct address a;

    if (len == 0 || len >= sizeof(text) || memchr(s, '\0', len))
        return STATUS_INVALID;
    memcpy(text, s, len);
    text[len] = '\0';
    if (inet_pton(AF_INET, text, a.bytes + 12) == 1)
        memcpy(a.bytes, v4_prefix, sizeof(v4_prefix));
    else if (inet_pton(AF_INET6, text, a.bytes) != 1)
        return STATUS_INVALID;
    *out = a;
    return 0;
}

bool address_is_v4(const struct address *a)
{
    return memcmp(a->bytes, v4_prefix, sizeof(v4_prefix)) == 0;
}

bool address_is_loopback(const struct address *a)
{
    static const struct address v6 = {{[15] = 1}};

    return address_is_v4(a) ? a->bytes[12] == 127 : memcmp(a, &v6, sizeof(v6)) == 0;
}

void address_format(char out[ADDRESS_TEXT_MAX], const struct address *a)
{
    if (address_is_v4(a))
        inet_ntop(AF_INET, a->bytes + 12, out, ADDRESS_TEXT_MAX);
    else
        inet_ntop(AF_INET6, a->bytes, out, ADDRESS_TEXT_MAX);
}

static bool bit(const struct address *a, int i)
{
    return a->bytes[i / 8] >> (7 - i % 8) & 1;
}

int network_parse(struct network *out, const char *s)
{
    const char *slash = strchr(s, '/');
    size_t len = slash ? (size_t)(slash - s) : strlen(s);
    struct network n = {.bits = 128};
    int64_t bits;
    int outside;

    if (address_parse(&n.address, s, len) < 0)
        return STATUS_INVALID;
    outside = address_is_v4(&n.address) && !memchr(s, ':', len) ? 96 : 0;
    if (slash) {
        size_t digits = strlen(slash + 1);

        if (digits == 0 || digits > 3 || strspn(slash + 1, "0123456789") < digits ||
            text_parse_i64(slash + 1, digits, &bits) < 0 || bits > 128 - outside)
            return STATUS_INVALID;
        n.bits = (int)bits + outside;
    }
    for (int i = n.bits; i < 128; i++)
        if (bit(&n.address, i))
            return STATUS_INVALID;
    *out = n;
    return 0;
}

bool network_has(const struct network *n, const struct address *a)
{
    int whole = n->bits / 8, rest = n->bits % 8;
    uint8_t mask = (uint8_t)(0xff << (8 - rest));

    return memcmp(n->address.bytes, a->bytes, (size_t)whole) == 0 &&
           (!rest || ((n->address.bytes[whole] ^ a->bytes[whole]) & mask) == 0);
}

/* "1.2.3.4", "1.2.3.4:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80" */
static int parse_with_port(struct address *out, const char *s, size_t len)
{
    const char *end;

    if (address_parse(out, s, len) == 0)
        return 0;
    if (len && *s == '[') {
        end = memchr(s, ']', len);
        if (!end || (end + 1 < s + len && end[1] != ':') || !memchr(s, ':', (size_t)(end - s)))
            return STATUS_INVALID;
        return address_parse(out, s + 1, (size_t)(end - s - 1));
    }
    end = memchr(s, ':', len);
    if (!end || memchr(end + 1, ':', (size_t)(s + len - end - 1)))
        return STATUS_INVALID;
    return address_parse(out, s, (size_t)(end - s));
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool address_last_forwarded(struct address *out, const char *list, size_t *len)
{
    size_t end = *len, begin;

    while (end && is_blank(list[end - 1]))
        end--;
    begin = end;
    while (begin && list[begin - 1] != ',')
        begin--;
    *len = begin ? begin - 1 : 0;
    while (begin < end && is_blank(list[begin]))
        begin++;
    return begin < end && parse_with_port(out, list + begin, end - begin) == 0;
}
