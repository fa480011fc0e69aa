#include "capture/wal/btree.h"

#include "base/status.h"
#include "capture/wal/bytes.h"

#define INDEX_INTERIOR 2
#define TABLE_INTERIOR 5
#define INDEX_LEAF 10
#define TABLE_LEAF 13

int btree_page_parse(struct btree_page *p, const uint8_t *data, uint32_t usable, uint32_t number)
{
    uint32_t header = number == 1 ? 100 : 0;
    const uint8_t *h = data + header;
    uint8_t type = h[0];
    if (type != INDEX_INTERIOR && type != TABLE_INTERIOR && type != INDEX_LEAF &&
        type != TABLE_LEAF)
        return STATUS_INVALID;
    *p = (struct btree_page){
        .data = data,
        .usable = usable,
        .number = number,
        .header = header,
        .cell_count = (int)get_u16(h + 3),
        .leaf = type == INDEX_LEAF || type == TABLE_LEAF,
        .table = type == TABLE_LEAF || type == TABLE_INTERIOR,
    };
    uint32_t pointers = header + (p->leaf ? 8 : 12);
    return pointers + 2 * (uint32_t)p->cell_count <= usable ? STATUS_OK : STATUS_INVALID;
}

/* Section 1.6: how much of a payload stays in the page. */
static uint32_t local_size(const struct btree_page *p, uint32_t size)
{
    uint32_t u = p->usable;
    uint32_t most = p->table ? u - 35 : (u - 12) * 64 / 255 - 23;
    if (size <= most)
        return size;
    uint32_t least = (u - 12) * 32 / 255 - 23;
    uint32_t local = least + (size - least) % (u - 4);
    return local <= most ? local : least;
}

static int parse_payload(
    const struct btree_page *p, const uint8_t *at, uint64_t size, struct btree_cell *c)
{
    const uint8_t *end = p->data + p->usable;
    if (size > INT32_MAX)
        return STATUS_INVALID;
    c->size = (uint32_t)size;
    c->local = at;
    c->local_size = local_size(p, c->size);
    size_t needed = c->local_size + (c->local_size < c->size ? 4u : 0u);
    if ((size_t)(end - at) < needed)
        return STATUS_INVALID;
    if (c->local_size < c->size && !(c->overflow = get_u32(at + c->local_size)))
        return STATUS_INVALID;
    return STATUS_OK;
}

/* Where cell i begins; NULL when that is not in the page. */
static const uint8_t *cell_start(const struct btree_page *p, int i)
{
    uint32_t pointers = p->header + (p->leaf ? 8 : 12);
    uint32_t at = get_u16(p->data + pointers + 2 * (uint32_t)i);
    bool inside = at >= pointers + 2 * (uint32_t)p->cell_count && at < p->usable;
    return inside ? p->data + at : NULL;
}

int btree_page_cell(const struct btree_page *p, int i, struct btree_cell *c)
{
    const uint8_t *at = cell_start(p, i), *end = p->data + p->usable;
    uint64_t size = 0, rowid;
    size_t n;
    *c = (struct btree_cell){0};
    if (!at)
        return STATUS_INVALID;
    if (!p->leaf) {
        if (end - at < 4)
            return STATUS_INVALID;
        c->child = get_u32(at);
        at += 4;
    }
    if (p->leaf || !p->table) {
        if (!(n = get_varint(at, end, &size)))
            return STATUS_INVALID;
        at += n;
    }
    if (p->table) {
        if (!(n = get_varint(at, end, &rowid)))
            return STATUS_INVALID;
        c->rowid = (int64_t)rowid;
        at += n;
    }
    return p->leaf || !p->table ? parse_payload(p, at, size, c) : STATUS_OK;
}

int btree_page_child(const struct btree_page *p, int i, uint32_t *child)
{
    const uint8_t *at = p->data + p->header + 8;
    if (i < p->cell_count)
        at = cell_start(p, i);
    if (!at || p->data + p->usable - at < 4)
        return STATUS_INVALID;
    *child = get_u32(at);
    return STATUS_OK;
}

int btree_payload(
    const struct wal_view *v, const struct btree_cell *c, struct buf *buf, const uint8_t **payload)
{
    *payload = c->local;
    if (c->local_size == c->size)
        return STATUS_OK;
    if (c->size > BTREE_PAYLOAD_MAX)
        return STATUS_TOO_LARGE;
    buf_reset(buf);
    if (c->size / (v->usable - 4) > v->most)
        return STATUS_INVALID;
    buf_put(buf, c->local, c->local_size);
    uint32_t next = c->overflow, left = c->size - c->local_size;
    while (left > 0) {
        uint32_t part = left < v->usable - 4 ? left : v->usable - 4;
        struct wal_page *page;
        int status = wal_view_page(v, next, &page);
        if (status < 0)
            return status;
        buf_put(buf, page->data + 4, part);
        next = get_u32(page->data);
        left -= part;
        wal_page_done(page);
    }
    if (buf_error(buf))
        return buf_error(buf);
    *payload = (const uint8_t *)buf->data;
    return next == 0 ? STATUS_OK : STATUS_INVALID;
}

int btree_overflow(const struct wal_view *v, const struct btree_cell *c,
    int (*seen)(void *ctx, uint32_t page), void *ctx)
{
    uint32_t next = c->overflow, left = c->size - c->local_size;
    if (c->size / (v->usable - 4) > v->most)
        return STATUS_INVALID;
    while (left > 0) {
        int status = next == 0 || next > v->page_count ? STATUS_INVALID : seen(ctx, next);
        if (status == 0 && left > v->usable - 4)
            status = wal_view_head(v, next, &next);
        if (status != 0)
            return status;
        left -= left < v->usable - 4 ? left : v->usable - 4;
    }
    return 0;
}
