#include "fuzz.h"

#include "wal_workload.h"
#include <stdlib.h>
#include <string.h>

/*
 * Numbers stand big-endian in 1, 2 or 4 bytes; an image consists of frames and pages, and what
 * their first bytes say is what the rest hangs on.
 */
static const uint32_t interesting[] = {0, 1, 2, 3, 5, 10, 13, 0x7f, 0x80, 0xff, 0x100, 0x1ff, 0x200,
    0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0x40000000, 0x200000};

static size_t below(uint64_t *dice, size_t n)
{
    return n ? dice_below(dice, n > UINT32_MAX ? UINT32_MAX : (uint32_t)n) : 0;
}

static void put_number(uint8_t *p, size_t width, uint32_t v)
{
    for (size_t i = 0; i < width; i++)
        p[i] = (uint8_t)(v >> 8 * (width - 1 - i));
}

static uint32_t get_number(const uint8_t *p, size_t width)
{
    uint32_t v = 0;
    for (size_t i = 0; i < width; i++)
        v = v << 8 | p[i];
    return v;
}

/* The page size that an image's log says; 0 for inputs of other kinds. */
static size_t page_size(const struct fuzz_input *in)
{
    if (in->size < 36 || (get_number(in->data + 4, 4) & ~1u) != 0x377f0682)
        return 0;
    size_t page = get_number(in->data + 12, 4);
    return page >= 512 && page <= 65536 ? page : 0;
}

/* Anywhere, or, more often, near the beginning of a frame or page. */
static size_t place(const struct fuzz_input *in, size_t page, uint64_t *dice)
{
    if (page == 0 || below(dice, 4) == 0 || in->size < 36)
        return below(dice, in->size);
    size_t log = get_number(in->data, 4), near = below(dice, below(dice, 3) ? 12 : 60), at;
    if (log > in->size - 4)
        log = in->size - 4;
    if (log > 32 && below(dice, 3))
        at = 4 + 32 + below(dice, (log - 32) / (page + 24)) * (page + 24) +
             (below(dice, 6) ? 24 : 0) + near;
    else
        at = 4 + log + below(dice, (in->size - 4 - log) / page) * page + near;
    return at < in->size ? at : below(dice, in->size);
}

static void change_number(struct fuzz_input *in, size_t at, uint64_t *dice)
{
    size_t width = (size_t)1 << below(dice, 3);
    uint8_t *p = in->data + at;
    if (in->size - at < width)
        width = 1;
    uint32_t v = get_number(p, width);
    switch (below(dice, 4)) {
    case 0:
        v++;
        break;
    case 1:
        v--;
        break;
    case 2:
        v = (uint32_t)below(dice, 64);
        break;
    default:
        v = interesting[below(dice, sizeof(interesting) / sizeof(interesting[0]))];
    }
    put_number(p, width, v);
}

/* Two pages or frames change places, or one takes the other's. */
static void change_unit(struct fuzz_input *in, size_t page, uint64_t *dice)
{
    size_t unit = page ? page + (below(dice, 2) ? 24 : 0) : 1 + below(dice, 16);
    size_t start = page ? 36 : 0;
    if (in->size < start + 2 * unit)
        return;
    size_t count = (in->size - start) / unit;
    uint8_t *a = in->data + start + below(dice, count) * unit;
    uint8_t *b = in->data + start + below(dice, count) * unit;
    bool swap = below(dice, 2);
    for (size_t i = 0; i < unit; i++) {
        uint8_t was = a[i];
        a[i] = b[i];
        if (swap)
            b[i] = was;
    }
}

static void splice(struct fuzz_input *in, const struct fuzz_input *other, uint64_t *dice)
{
    size_t size = 1 + below(dice, below(dice, 2) ? 64 : 5000);
    if (size > in->size || size > other->size)
        return;
    memcpy(in->data + below(dice, in->size - size + 1),
        other->data + below(dice, other->size - size + 1), size);
}

static void insert(struct fuzz_input *in, size_t at, const uint8_t *from, size_t size)
{
    uint8_t *longer = malloc(in->size + size + 1);
    memcpy(longer, in->data, at);
    memcpy(longer + at, from, size);
    memcpy(longer + at + size, in->data + at, in->size - at);
    free(in->data);
    in->data = longer;
    in->size += size;
}

/* Some bytes are taken out, or some of the other's, or one of what texts are made of, put in. */
static void change_length(
    struct fuzz_input *in, const struct fuzz_input *other, size_t at, uint64_t *dice)
{
    static const uint8_t signs[] = "\"'\\{}[]()<>:;,.=!%&?#@*+-/_ \t\r\n0159aAeExXu~";
    size_t size = 1 + below(dice, below(dice, 2) ? 4 : 40);
    if (below(dice, 3) == 0)
        insert(in, at, &signs[below(dice, sizeof(signs))], 1);
    else if (below(dice, 2) && size <= other->size && in->size < 1 << 18)
        insert(in, at, other->data + below(dice, other->size - size + 1), size);
    else if (size <= in->size - at) {
        memmove(in->data + at, in->data + at + size, in->size - at - size);
        in->size -= size;
    }
}

static void cut(struct fuzz_input *in, size_t at, uint64_t *dice)
{
    if (below(dice, 6) == 0)
        in->size = below(dice, 3) ? in->size - below(dice, in->size < 600 ? in->size : 600) : at;
}

static void mutate_once(
    struct fuzz_input *in, const struct fuzz_input *other, size_t page, uint64_t *dice)
{
    size_t at = place(in, page, dice), left = in->size - at;
    switch (below(dice, page ? 12 : 16)) {
    case 0:
    case 1:
    case 2:
        in->data[at] ^= (uint8_t)(1 << below(dice, 8));
        break;
    case 3:
        in->data[at] = (uint8_t)dice_next(dice);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        change_number(in, at, dice);
        break;
    case 8:
        change_unit(in, page, dice);
        break;
    case 9:
        splice(in, other, dice);
        break;
    case 10:
        memset(in->data + at, below(dice, 2) ? 0 : 0xff, below(dice, left < 200 ? left : 200));
        break;
    case 11:
        cut(in, at, dice);
        break;
    default:
        change_length(in, other, at, dice);
    }
}

struct fuzz_input fuzz_mutate(const struct fuzz_corpus *c, size_t which, uint64_t *dice)
{
    const struct fuzz_input *from = &c->items[which], *other = &c->items[below(dice, c->count)];
    struct fuzz_input in = {.data = malloc(from->size + 1), .size = from->size};
    size_t page = page_size(from);
    memcpy(in.data, from->data, from->size);
    for (size_t n = 1 + below(dice, below(dice, 3) ? 3 : 12); n > 0 && in.size > 0; n--)
        mutate_once(&in, other, page, dice);
    return in;
}
