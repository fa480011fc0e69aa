#include "net/deflate.h"

#include "base/mem.h"
#include "net/private.h"
#include "net/zmem.h"

#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

/*
 * Level 1: what change messages lose by it is a few per cent up to some KB, and the highest levels
 * take three times as long for large ones.
 */
#define LEVEL 1
#define TAIL 4   /* 00 00 ff ff, which Z_SYNC_FLUSH ends with and the receiver adds again */
#define RECENT 4 /* texts remembered within a turn */
/* What may be compressed in a turn, in units that take some 5 ns each; noise takes 25. */
#define TURN ((size_t)1 << 20)

/*
 * zlib cannot compress for the window of 8 bits, and every window costs a compression of its own.
 * So there are two: what is no longer than the receiver's window may be compressed for the largest,
 * for no distance in it is greater; what is longer is compressed for the smallest.
 */
static const struct {
    int bits, mem_level;
    size_t cost; /* per byte */
} windows[BODY_FORMS] = {{15, 8, 1}, {9, 5, 3}};
#define START_COST 2000 /* and per body */

struct deflater {
    z_stream z[BODY_FORMS];
    bool ready[BODY_FORMS]; /* z has its memory: 256 KB and 20 KB */
    size_t min_size;
    size_t spent;
    struct body *recent[RECENT];
    unsigned next;
    struct deflater_totals totals;
};

struct deflater *deflater_new(size_t min_size)
{
    struct deflater *d = mem_zalloc(sizeof(*d));

    if (d)
        d->min_size = min_size;
    return d;
}

static void forget(struct deflater *d)
{
    for (int i = 0; i < RECENT; i++) {
        body_unref(d->recent[i]);
        d->recent[i] = NULL;
    }
    d->next = 0;
}

void deflater_free(struct deflater *d)
{
    if (!d)
        return;
    forget(d);
    for (int i = 0; i < BODY_FORMS; i++)
        if (d->ready[i])
            deflateEnd(&d->z[i]);
    mem_free(d);
}

struct deflater_totals *deflater_totals(struct deflater *d)
{
    return &d->totals;
}

void deflater_turn(struct deflater *d)
{
    if (!d->spent && !d->recent[0])
        return;
    d->spent = 0;
    forget(d);
}

static bool prepare(struct deflater *d, int form)
{
    z_stream *z = &d->z[form];

    if (d->ready[form])
        return deflateReset(z) == Z_OK;
    *z = (z_stream){.zalloc = zmem_alloc, .zfree = zmem_free};
    d->ready[form] = deflateInit2(z, LEVEL, Z_DEFLATED, -windows[form].bits,
                         windows[form].mem_level, Z_DEFAULT_STRATEGY) == Z_OK;
    return d->ready[form];
}

/* Which form of a body that receiver can read, or -1. */
static int form_for(size_t len, int window_bits)
{
    if (len <= (size_t)1 << window_bits || window_bits >= windows[0].bits)
        return 0;
    return window_bits >= windows[1].bits ? 1 : -1;
}

static bool affordable(const struct deflater *d, size_t len, int form)
{
    return len < TURN && d->spent + START_COST + len * windows[form].cost <= TURN;
}

/* Compresses into what has room for len bytes. 0: it does not shrink. */
static size_t compress_into(z_stream *z, char *out, const char *data, size_t len)
{
    z->next_in = (const Bytef *)data;
    z->avail_in = (uInt)len;
    z->next_out = (Bytef *)out;
    z->avail_out = (uInt)len;
    if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in || z->avail_out == 0)
        return 0;
    return len - z->avail_out - TAIL;
}

static struct body *make(struct deflater *d, struct body *b, int form)
{
    struct body *out, *fit;
    size_t len;

    if (!affordable(d, b->len, form) || !prepare(d, form))
        return NULL;
    out = body_new_empty(b->len);
    if (!out)
        return NULL;
    d->spent += START_COST + b->len * windows[form].cost;
    loop_count(&d->totals.bodies, 1);
    len = compress_into(&d->z[form], out->data, b->data, b->len);
    if (!len) {
        body_unref(out);
        return b;
    }
    out->len = (uint32_t)len;
    fit = mem_realloc(out, sizeof(*out) + len);
    return fit ? fit : out;
}

struct body *deflater_body(struct deflater *d, struct body *b, int window_bits)
{
    int form = form_for(b->len, window_bits);
    struct body **kept;

    if (b->len < d->min_size || form < 0)
        return NULL;
    kept = &b->deflated[form];
    if (!*kept)
        *kept = make(d, b, form);
    return *kept == b ? NULL : *kept;
}

static struct body *find(const struct deflater *d, const char *data, size_t len)
{
    for (int i = 0; i < RECENT; i++) {
        struct body *b = d->recent[i];

        if (b && b->len == len && memcmp(b->data, data, len) == 0)
            return b;
    }
    return NULL;
}

struct body *deflater_text(struct deflater *d, const char *data, size_t len, int window_bits)
{
    struct body *b;

    if (len < d->min_size || form_for(len, window_bits) < 0)
        return NULL;
    b = find(d, data, len);
    if (!b) {
        if (!affordable(d, len, form_for(len, window_bits)))
            return NULL;
        b = body_new(data, len);
        if (!b)
            return NULL;
        body_unref(d->recent[d->next]);
        d->recent[d->next] = b;
        d->next = (d->next + 1) % RECENT;
    }
    return deflater_body(d, b, window_bits);
}

void deflate_stored_head(uint8_t out[DEFLATE_STORED_HEAD], size_t len)
{
    out[0] = 0;
    out[1] = (uint8_t)len;
    out[2] = (uint8_t)(len >> 8);
    out[3] = (uint8_t)~len;
    out[4] = (uint8_t)(~len >> 8);
}
