#include "capture/wal/diff.h"

#include "base/status.h"
#include "capture/wal/bytes.h"

/*
 * SQLite overwrites a cell of the same size in place and writes only the pages in which bytes
 * differ: that can be an overflow page alone. Such a page does not tell whose it is, so its cell
 * has to be looked for.
 */
#define MAX_OWNERS (1u << 20)

#define FIRST_OVERFLOW 3 /* in a pointer map: its parent is the cell's page */
#define LATER_OVERFLOW 4 /* its parent is the overflow page before it */

struct orphans {
    struct wal_diff *d;
    struct u32map pages; /* 1: not explained so far; 0: it is */
    uint32_t left;
    uint64_t steps;  /* that may still be made: a damaged file must not keep us for ever */
    uint32_t holder; /* the page whose cell's chain is followed */
    uint32_t owner;  /* 0, or what was looked for is in the chain */
};

static bool is_tree_type(uint8_t type)
{
    return type == 2 || type == 5 || type == 10 || type == 13;
}

static int step(struct orphans *o)
{
    return o->steps-- == 0 ? STATUS_INVALID : STATUS_OK;
}

/* An overflow page begins with the number of the next one, which is hardly as large as a type. */
static int collect(struct orphans *o)
{
    struct wal_diff *d = o->d;
    for (uint32_t i = 0; i < d->list_count; i++) {
        uint32_t page = d->list[i], head;
        if (page > d->after.page_count || u32map_get(&d->claimed, page, NULL) ||
            wal_view_is_special(&d->after, page))
            continue;
        int status = wal_view_head(&d->after, page, &head);
        if (status == STATUS_OK &&
            (!is_tree_type((uint8_t)(head >> 24)) || head <= d->after.page_count)) {
            status = u32map_put(&o->pages, page, 1);
            o->left++;
        }
        if (status < 0)
            return status;
    }
    return STATUS_OK;
}

static int explain(struct orphans *o, uint32_t page)
{
    uint32_t state = 0;
    if (!u32map_get(&o->pages, page, &state) || !state)
        return STATUS_OK;
    o->left--;
    return u32map_put(&o->pages, page, 0);
}

static int explain_seen(void *ctx, uint32_t page)
{
    struct orphans *o = ctx;
    int status = step(o);
    if (status == STATUS_OK)
        status = explain(o, page);
    return status == STATUS_OK && o->left == 0 ? 1 : status;
}

/* Chains of a page that changed itself. */
static int explain_page(struct orphans *o, uint32_t number)
{
    const struct wal_view *v = &o->d->after;
    struct wal_page *page;
    struct btree_page p;
    int status = wal_view_page(v, number, &page);
    if (status < 0)
        return status;
    int count = btree_page_parse(&p, page->data, v->usable, number) == STATUS_OK ? p.cell_count : 0;
    bool claimed = u32map_get(&o->d->claimed, number, NULL);
    for (int i = 0; status == STATUS_OK && i < count && o->left > 0; i++) {
        struct btree_cell c;
        status = btree_page_cell(&p, i, &c);
        if (status == STATUS_OK && c.overflow)
            status = btree_overflow(v, &c, explain_seen, o);
        /* What belongs to no table may be something that looks like a page of a tree. */
        if (status > 0 || (status == STATUS_INVALID && !claimed))
            status = STATUS_OK;
    }
    wal_page_done(page);
    return status;
}

static int explain_trunk(struct orphans *o, uint32_t trunk, uint32_t *next)
{
    const struct wal_view *v = &o->d->after;
    struct wal_page *page;
    int status = wal_view_page(v, trunk, &page);
    if (status < 0)
        return status;
    uint32_t count = get_u32(page->data + 4);
    *next = get_u32(page->data);
    status = count <= v->usable / 4 - 2 ? explain(o, trunk) : STATUS_INVALID;
    for (uint32_t i = 0; status == STATUS_OK && i < count; i++)
        status = explain(o, get_u32(page->data + 8 + 4 * i));
    wal_page_done(page);
    return status;
}

/* Section 1.5: the list of free pages, of which the first page names the first trunk. */
static int explain_free(struct orphans *o)
{
    struct wal_page *page;
    int status = wal_view_page(&o->d->after, 1, &page);
    if (status < 0)
        return status;
    uint32_t trunk = get_u32(page->data + 32);
    wal_page_done(page);
    while (status == STATUS_OK && trunk && o->left > 0) {
        status = step(o);
        if (status == STATUS_OK)
            status = explain_trunk(o, trunk, &trunk);
    }
    return status;
}

static int read_map(const struct wal_view *v, uint32_t page, uint8_t *type, uint32_t *parent)
{
    struct wal_page *map;
    uint32_t number = wal_view_map_page(v, page);
    uint32_t offset = 5 * (page - number - 1);
    if (page <= number || offset + 5 > v->usable)
        return STATUS_INVALID;
    int status = wal_view_page(v, number, &map);
    if (status < 0)
        return status;
    *type = map->data[offset];
    *parent = get_u32(map->data + offset + 1);
    wal_page_done(map);
    return STATUS_OK;
}

/* The page that holds the cell, by the pointer map. */
static int owner_by_map(struct orphans *o, uint32_t page)
{
    uint8_t type = LATER_OVERFLOW;
    uint32_t parent = page;
    int status = STATUS_OK;
    while (status == STATUS_OK && type == LATER_OVERFLOW) {
        status = step(o);
        if (status == STATUS_OK && (parent < 2 || parent > o->d->after.page_count))
            status = STATUS_INVALID;
        if (status == STATUS_OK)
            status = read_map(&o->d->after, parent, &type, &parent);
    }
    if (status == STATUS_OK && type == FIRST_OVERFLOW)
        o->owner = parent;
    return status;
}

static int is_wanted(void *ctx, uint32_t page)
{
    struct orphans *o = ctx;
    int status = step(o);
    return status < 0 ? status : page == o->holder;
}

/* Where it was seen last: true only if it is still so. */
static int owner_by_memory(struct orphans *o, uint32_t page)
{
    const struct wal_view *v = &o->d->after;
    uint32_t number;
    struct wal_page *holder;
    struct btree_page p;
    if (!u32map_get(&o->d->owners, page, &number) || number > v->page_count)
        return STATUS_OK;
    int status = wal_view_page(v, number, &holder);
    if (status < 0)
        return status;
    o->holder = page;
    int count =
        btree_page_parse(&p, holder->data, v->usable, number) == STATUS_OK ? p.cell_count : 0;
    for (int i = 0; i < count && !o->owner; i++) {
        struct btree_cell c;
        if (btree_page_cell(&p, i, &c) == STATUS_OK && c.overflow &&
            btree_overflow(v, &c, is_wanted, o) == 1)
            o->owner = number;
    }
    wal_page_done(holder);
    return STATUS_OK;
}

/*
 * The page is compared as if it had been written itself, and one look at it explains all pages of
 * its chains. One that is remembered may have been freed since, and still hold the cell as it was:
 * it is in no tree then, and the owner is another one.
 */
static int adopt(struct orphans *o, uint32_t page, uint32_t owner)
{
    int status = STATUS_OK;
    if (!u32map_get(&o->d->changed, owner, NULL))
        status = wal_diff_claim(o->d, owner);
    bool claimed = u32map_get(&o->d->claimed, owner, NULL);
    if (status < 0 || (!claimed && !o->d->after.auto_vacuum))
        return status;
    status = explain(o, page);
    return status == STATUS_OK && claimed ? explain_page(o, owner) : status;
}

static int adopt_seen(void *ctx, uint32_t page)
{
    struct orphans *o = ctx;
    uint32_t orphan = 0;
    if (step(o) < 0)
        return STATUS_INVALID;
    if (o->d->owners.count < MAX_OWNERS && u32map_put(&o->d->owners, page, o->holder) < 0)
        return STATUS_NOMEM;
    if (u32map_get(&o->pages, page, &orphan) && orphan)
        o->owner = o->holder;
    return STATUS_OK;
}

/* Goes through all of a table, which is the only way where there is no pointer map. */
static int search_tree(struct orphans *o, const struct tree *t)
{
    static const struct u32map none;
    struct btree_cell cell;
    struct cells c = {
        .view = &o->d->after, .tree = t, .changed = &none, .paths = &none, .attached = &none};
    int status;
    while ((status = cells_next(&c, &cell)) == 1) {
        if (!cell.overflow)
            continue;
        o->holder = c.stack[c.depth - 1].page->number;
        status = btree_overflow(&o->d->after, &cell, adopt_seen, o);
        if (status < 0)
            break;
    }
    cells_end(&c);
    return status;
}

static int search(struct orphans *o)
{
    struct wal_diff *d = o->d;
    int status = STATUS_OK;
    if (d->owners.count >= MAX_OWNERS)
        u32map_clear(&d->owners);
    for (int i = 0; status == STATUS_OK && i < d->trees->count; i++)
        status = search_tree(o, &d->trees->items[i]);
    return status;
}

/* Those for which an owner is known. */
static int adopt_known(struct orphans *o)
{
    bool map = o->d->after.auto_vacuum;
    int status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < o->pages.cap && o->left > 0; i++) {
        const struct u32map_slot *s = &o->pages.slots[i];
        if (!s->key || !s->value)
            continue;
        o->owner = 0;
        status = map ? owner_by_map(o, s->key) : owner_by_memory(o, s->key);
        if (status == STATUS_OK && o->owner)
            status = adopt(o, s->key, o->owner);
    }
    return status;
}

int wal_diff_adopt(struct wal_diff *d)
{
    struct orphans o = {.d = d};
    o.steps = 16 * (uint64_t)d->after.most + 100000;
    int status = collect(&o);
    for (uint32_t i = 0, count = d->list_count; status == STATUS_OK && i < count && o.left > 0; i++)
        if (d->list[i] <= d->after.page_count)
            status = explain_page(&o, d->list[i]);
    if (status == STATUS_OK && o.left > 0)
        status = explain_free(&o);
    if (status == STATUS_OK && o.left > 0)
        status = adopt_known(&o);
    if (status == STATUS_OK && o.left > 0 && !d->after.auto_vacuum) {
        o.owner = 0;
        status = search(&o);
        if (status == STATUS_OK && o.owner)
            status = adopt_known(&o);
    }
    u32map_fini(&o.pages);
    return status;
}
