#include "capture/wal/record.h"

#include "base/status.h"
#include "capture/wal/bytes.h"
#include <math.h>
#include <string.h>

int record_begin(struct record *r, const uint8_t *payload, size_t size)
{
    uint64_t head;
    size_t n = get_varint(payload, payload + size, &head);
    if (!n || head < n || head > size)
        return STATUS_INVALID;
    r->type = payload + n;
    r->types_end = r->value = payload + head;
    r->end = payload + size;
    return STATUS_OK;
}

bool record_more(const struct record *r)
{
    return r->type < r->types_end;
}

static int64_t integer(const uint8_t *p, size_t size)
{
    uint64_t v = p[0] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = 0; i < size; i++)
        v = v << 8 | p[i];
    return (int64_t)v;
}

static void set_real(struct value *v, const uint8_t *p)
{
    int64_t bits = integer(p, 8);
    double r;
    memcpy(&r, &bits, sizeof(r));
    /* SQLite has no NaN: such a thing reads as NULL. */
    if (!isnan(r))
        *v = (struct value){.type = VALUE_REAL, .r = r};
}

int record_next(struct record *r, struct value *v)
{
    static const uint8_t sizes[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
    uint64_t type;
    size_t n = get_varint(r->type, r->types_end, &type);
    if (!n || type == 10 || type == 11)
        return STATUS_INVALID;
    uint64_t size = type < 10 ? sizes[type] : (type - 12) / 2;
    if (size > (uint64_t)(r->end - r->value))
        return STATUS_INVALID;
    *v = (struct value){.type = VALUE_NULL};
    if (type == 7)
        set_real(v, r->value);
    else if (type >= 12)
        *v = (struct value){
            .type = type & 1 ? VALUE_TEXT : VALUE_BLOB,
            .p = (const char *)r->value,
            .len = (uint32_t)size,
        };
    else if (type == 8 || type == 9)
        *v = (struct value){.type = VALUE_INTEGER, .i = (int64_t)type - 8};
    else if (type > 0)
        *v = (struct value){.type = VALUE_INTEGER, .i = integer(r->value, size)};
    r->type += n;
    r->value += size;
    return STATUS_OK;
}

static void put_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_putc(out, (char)c);
    } else if (c < 0x800) {
        buf_putc(out, (char)(0xc0 | (c >> 6 & 0x1f)));
        buf_putc(out, (char)(0x80 | (c & 0x3f)));
    } else {
        if (c < 0x10000) {
            buf_putc(out, (char)(0xe0 | (c >> 12 & 0x0f)));
        } else {
            buf_putc(out, (char)(0xf0 | (c >> 18 & 0x07)));
            buf_putc(out, (char)(0x80 | (c >> 12 & 0x3f)));
        }
        buf_putc(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_putc(out, (char)(0x80 | (c & 0x3f)));
    }
}

void record_utf8(struct buf *out, const char *p, size_t size, int encoding)
{
    const uint8_t *at = (const uint8_t *)p, *end = at + (size & ~(size_t)1);
    int low = encoding == 2 ? 0 : 1;
    while (at < end) {
        uint32_t c = (uint32_t)at[low] | (uint32_t)at[1 - low] << 8;
        at += 2;
        /* The first of a pair, or what stands alone, takes the next unit whatever that is. */
        if (c >= 0xd800 && c < 0xe000 && at < end) {
            uint32_t d = (uint32_t)at[low] | (uint32_t)at[1 - low] << 8;
            at += 2;
            c = (d & 0x3ff) + ((c & 0x3f) << 10) + (((c & 0x3c0) + 0x40) << 10);
        }
        put_utf8(out, c);
    }
}
