#include "net/inflate.h"

#include "base/mem.h"
#include "net/private.h"
#include "net/zmem.h"

#define ZLIB_CONST
#include <zlib.h>

#define FIRST 4096   /* room for what comes out, doubled as long as it does not suffice */
#define KEPT 65536   /* of it, from one message to the next */
#define WINDOW (-15) /* the largest, which reads what any other wrote; negative: no zlib header */
#define AT_BLOCK 128 /* in data_type: inflate has returned just behind a block */

struct inflater {
    z_stream z;
    bool ready; /* z has its memory: some 40 KB */
    bool ended; /* nothing has come behind a block that said it is the last */
    char *out;
    size_t len, cap;
    struct inflater_totals totals;
};

struct inflater *inflater_new(void)
{
    return mem_zalloc(sizeof(struct inflater));
}

void inflater_free(struct inflater *i)
{
    if (!i)
        return;
    if (i->ready)
        inflateEnd(&i->z);
    mem_free(i->out);
    mem_free(i);
}

const struct inflater_totals *inflater_totals(const struct inflater *i)
{
    return &i->totals;
}

size_t inflater_limit(size_t max)
{
    return max + max / 8 + 64;
}

static bool prepare(struct inflater *i)
{
    i->len = 0;
    i->ended = false;
    if (i->ready)
        return inflateReset(&i->z) == Z_OK;
    i->z = (z_stream){.zalloc = zmem_alloc, .zfree = zmem_free};
    i->ready = inflateInit2(&i->z, WINDOW) == Z_OK;
    return i->ready;
}

/* Points zlib to room for more, which is never for more than `limit` bytes in all. */
static bool make_room(struct inflater *i, size_t limit)
{
    size_t cap = i->cap ? i->cap : FIRST, room;
    char *out = i->out;

    while (cap <= i->len)
        cap *= 2;
    if (cap > limit)
        cap = limit;
    if (cap > i->cap) {
        out = mem_realloc(i->out, cap);
        if (!out)
            return false;
        i->out = out;
        i->cap = cap;
    }
    room = (i->cap < limit ? i->cap : limit) - i->len;
    i->z.next_out = (Bytef *)out + i->len;
    i->z.avail_out = room < UINT32_MAX ? (uInt)room : UINT32_MAX;
    return true;
}

/* One step of zlib's. 0 or a close code. */
static int step(struct inflater *i)
{
    uInt room = i->z.avail_out;
    int rc = inflate(&i->z, Z_SYNC_FLUSH);

    i->len += room - i->z.avail_out;
    switch (rc) {
    case Z_STREAM_END:
        i->ended = true;
        return inflateReset(&i->z) == Z_OK ? 0 : WS_CLOSE_INTERNAL;
    case Z_OK:
        return 0;
    case Z_BUF_ERROR: /* nothing more to be had without more input */
        return i->z.avail_in ? WS_CLOSE_BAD_DATA : 0;
    case Z_MEM_ERROR:
        return WS_CLOSE_INTERNAL;
    default:
        return WS_CLOSE_BAD_DATA;
    }
}

/*
 * Takes bytes until none are left and nothing more comes out. Right behind a block nothing waits to
 * come out, and asking for it would make zlib forget where it is.
 */
static int feed(struct inflater *i, const void *data, size_t len, size_t max)
{
    int rc = 0;

    i->z.next_in = data;
    i->z.avail_in = (uInt)len;
    i->z.avail_out = 0;
    do {
        if (i->z.avail_out == 0 && !make_room(i, max + 1))
            return WS_CLOSE_INTERNAL;
        if (i->z.avail_in)
            i->ended = false;
        rc = step(i);
        if (rc == 0 && i->len > max)
            rc = WS_CLOSE_TOO_LARGE;
    } while (rc == 0 &&
             (i->z.avail_in || (i->z.avail_out == 0 && !i->ended && !(i->z.data_type & AT_BLOCK))));
    return rc;
}

/*
 * The sender cut off the end of an empty stored block, 00 00 ff ff. A message that ends with a
 * block marked as the last one, and nothing behind it, is as clear; so is one of no bytes at all.
 */
static int inflate_all(struct inflater *i, const void *data, size_t len, size_t max)
{
    static const uint8_t tail[] = {0x00, 0x00, 0xff, 0xff};
    int rc;

    if (!prepare(i))
        return WS_CLOSE_INTERNAL;
    if (len == 0)
        return 0;
    rc = feed(i, data, len, max);
    if (rc || i->ended)
        return rc;
    rc = feed(i, tail, sizeof(tail), max);
    if (rc)
        return rc;
    return i->z.data_type & AT_BLOCK ? 0 : WS_CLOSE_BAD_DATA;
}

int inflater_run(
    struct inflater *i, const void *data, size_t len, size_t max, const char **out, size_t *out_len)
{
    int rc = inflate_all(i, data, len, max);

    if (rc) {
        inflater_done(i);
        return rc;
    }
    loop_count(&i->totals.messages, 1);
    loop_count(&i->totals.before, len);
    loop_count(&i->totals.after, i->len);
    *out = i->len ? i->out : "";
    *out_len = i->len;
    return 0;
}

void inflater_done(struct inflater *i)
{
    if (i->cap <= KEPT)
        return;
    mem_free(i->out);
    i->out = NULL;
    i->cap = 0;
}
