#include "capture/wal/diff.h"

#include "base/mem.h"
#include "base/status.h"

#define MAX_HINTS (1u << 20)

void wal_diff_init(struct wal_diff *d, struct wal_pages *pages)
{
    *d = (struct wal_diff){.pages = pages};
}

static void drop_pairs(struct wal_diff *d)
{
    for (int i = 0; i < d->pair_count; i++) {
        u32map_fini(&d->pairs[i].old_paths);
        u32map_fini(&d->pairs[i].paths);
        u32map_fini(&d->pairs[i].attached);
        mem_free(d->pairs[i].from);
    }
    mem_free(d->pairs);
    mem_free(d->old_pairs);
    d->pairs = NULL;
    d->old_pairs = NULL;
    d->pair_count = 0;
    d->old_trees = d->trees = NULL;
}

void wal_diff_forget(struct wal_diff *d)
{
    drop_pairs(d);
}

void wal_diff_fini(struct wal_diff *d)
{
    drop_pairs(d);
    u32map_fini(&d->changed);
    u32map_fini(&d->claimed);
    u32map_fini(&d->hints);
    u32map_fini(&d->owners);
    mem_free(d->list);
    *d = (struct wal_diff){0};
}

/* Pairs. */

static int map_columns(struct wal_pair *p)
{
    const struct table *old = p->old->table, *now = p->now->table;
    if (old == now)
        return STATUS_OK;
    p->from = mem_array(now->column_count > 0 ? (size_t)now->column_count : 1, sizeof(*p->from));
    if (!p->from)
        return STATUS_NOMEM;
    for (int i = 0; i < now->column_count; i++) {
        p->from[i] = -1;
        for (int k = 0; k < old->column_count; k++)
            if (old->columns[k].id == now->columns[i].id)
                p->from[i] = k;
    }
    return STATUS_OK;
}

static int make_pairs(struct wal_diff *d, const struct trees *old_trees, const struct trees *trees)
{
    if (d->old_trees == old_trees && d->trees == trees && d->pairs)
        return STATUS_OK;
    drop_pairs(d);
    d->pairs = mem_array((size_t)trees->count + 1, sizeof(*d->pairs));
    d->old_pairs = mem_array((size_t)old_trees->count + 1, sizeof(*d->old_pairs));
    if (!d->pairs || !d->old_pairs)
        return STATUS_NOMEM;
    d->pair_count = trees->count;
    for (int i = 0; i < trees->count; i++)
        d->pairs[i].now = &trees->items[i];
    for (int k = 0; k < old_trees->count; k++) {
        const struct tree *old = &old_trees->items[k];
        d->old_pairs[k] = -1;
        for (int i = 0; i < trees->count; i++)
            if (trees->items[i].table->id == old->table->id) {
                d->old_pairs[k] = i;
                d->pairs[i].old = old;
                if (map_columns(&d->pairs[i]) < 0)
                    return STATUS_NOMEM;
            }
    }
    d->old_trees = old_trees;
    d->trees = trees;
    return STATUS_OK;
}

/* With auto_vacuum another table's root may have been moved to where a dropped one had its own. */
static bool may_have_moved_in(const struct wal_diff *d, const struct wal_pair *p)
{
    bool dropped = false;
    for (int k = 0; k < d->old_trees->count && !dropped; k++)
        dropped = d->old_pairs[k] < 0;
    return dropped && d->after.auto_vacuum && u32map_get(&d->changed, p->now->root, NULL);
}

static int reset_pair(const struct wal_diff *d, struct wal_pair *p)
{
    /* A table that is new to us may be stored in pages that were there before. */
    bool moved = !p->old || p->old->root != p->now->root;
    if (p->touched) {
        u32map_clear(&p->old_paths);
        u32map_clear(&p->paths);
        u32map_clear(&p->attached);
    }
    p->touched = moved;
    p->whole = p->old && (moved ? u32map_get(&d->old_trees->roots, p->now->root, NULL)
                                : may_have_moved_in(d, p));
    return moved ? u32map_put(&p->attached, p->now->root, 1) : STATUS_OK;
}

/* Pages. */

static int touch(struct wal_pair *p)
{
    if (p->touched)
        return STATUS_OK;
    p->touched = true;
    return u32map_put(&p->attached, p->now->root, 1);
}

static int widen(struct u32map *paths, uint32_t page, int child)
{
    uint32_t range;
    int first = child, last = child;
    if (u32map_get(paths, page, &range)) {
        first = (int)(range >> 16) < child ? (int)(range >> 16) : child;
        last = (int)(range & 0xffff) > child ? (int)(range & 0xffff) : child;
    }
    return u32map_put(paths, page, cells_range(first, last));
}

static int note_path(struct wal_diff *d, bool after, struct wal_pair *p,
    const struct btree_page *page, const struct tree_path *path)
{
    struct u32map *paths = after ? &p->paths : &p->old_paths;
    int status = touch(p);
    for (int i = 0; status == STATUS_OK && i < path->depth; i++)
        status = widen(paths, path->pages[i], path->children[i]);
    if (!after || status < 0)
        return status;
    status = u32map_put(&d->claimed, page->number, 1);
    for (int i = 0; status == STATUS_OK && !page->leaf && i <= page->cell_count; i++) {
        uint32_t child;
        status = btree_page_child(page, i, &child);
        if (status == STATUS_OK)
            status = child ? u32map_put(&p->attached, child, 1) : STATUS_INVALID;
    }
    return status;
}

static int found(struct wal_diff *d, bool after, int tree, const struct btree_page *page,
    const struct tree_path *path)
{
    const struct trees *all = after ? d->trees : d->old_trees;
    int pair = after ? tree : d->old_pairs[tree];
    if (d->hints.count >= MAX_HINTS)
        u32map_clear(&d->hints);
    int status = u32map_put(&d->hints, page->number, all->items[tree].root);
    if (pair >= 0 && status == STATUS_OK)
        status = note_path(d, after, &d->pairs[pair], page, path);
    return status;
}

/* Tries the tree that the page was in last, then all the others. */
static int find_tree(struct wal_diff *d, bool after, const struct btree_page *page)
{
    const struct trees *all = after ? d->trees : d->old_trees;
    const struct wal_view *view = after ? &d->after : &d->before;
    struct tree_path path;
    uint32_t hint = 0, root, first = 0;
    if (u32map_get(&all->roots, page->number, &hint))
        return found(d, after, (int)hint - 1, page, &(struct tree_path){.depth = 0});
    if (u32map_get(&d->hints, page->number, &root))
        u32map_get(&all->roots, root, &first);
    for (int i = first ? -1 : 0; i < all->count; i++) {
        int at = i < 0 ? (int)first - 1 : i;
        if (i >= 0 && at == (int)first - 1)
            continue;
        int status = locate_page(view, all, &all->items[at], page, &path);
        if (status == STATUS_OK)
            return found(d, after, at, page, &path);
        if (status != STATUS_NOT_FOUND)
            return status;
    }
    return STATUS_OK;
}

static int claim_in(struct wal_diff *d, bool after, uint32_t number)
{
    const struct wal_view *view = after ? &d->after : &d->before;
    struct wal_page *page;
    struct btree_page parsed;
    if (number > view->page_count || wal_view_is_special(view, number))
        return STATUS_OK;
    int status = wal_view_page(view, number, &page);
    if (status < 0)
        return status;
    if (btree_page_parse(&parsed, page->data, view->usable, number) == STATUS_OK)
        status = find_tree(d, after, &parsed);
    wal_page_done(page);
    return status;
}

static int add_page(struct wal_diff *d, uint32_t page)
{
    if (u32map_get(&d->changed, page, NULL))
        return STATUS_OK;
    if (d->list_count == d->list_cap) {
        uint32_t cap = d->list_cap ? d->list_cap * 2 : 64;
        void *grown = mem_realloc(d->list, cap * sizeof(*d->list));
        if (!grown)
            return STATUS_NOMEM;
        d->list = grown;
        d->list_cap = cap;
    }
    d->list[d->list_count++] = page;
    return u32map_put(&d->changed, page, 1);
}

int wal_diff_claim(struct wal_diff *d, uint32_t page)
{
    int status = add_page(d, page);
    if (status == STATUS_OK)
        status = claim_in(d, false, page);
    return status == STATUS_OK ? claim_in(d, true, page) : status;
}

int wal_diff_begin(struct wal_diff *d, uint32_t from, uint32_t to, const struct trees *old_trees,
    const struct trees *trees)
{
    int status = make_pairs(d, old_trees, trees);
    u32map_clear(&d->changed);
    u32map_clear(&d->claimed);
    d->list_count = 0;
    if (status == STATUS_OK)
        status = wal_view_init(&d->before, d->pages, from);
    if (status == STATUS_OK)
        status = wal_view_init(&d->after, d->pages, to);
    for (uint32_t n = from; status == STATUS_OK && n < to; n++)
        status = add_page(d, d->pages->log->frames[n].page);
    for (int i = 0; status == STATUS_OK && i < d->pair_count; i++)
        status = reset_pair(d, &d->pairs[i]);
    for (uint32_t i = 0, count = d->list_count; status == STATUS_OK && i < count; i++)
        status = wal_diff_claim(d, d->list[i]);
    return status == STATUS_OK ? wal_diff_adopt(d) : status;
}

/* Without its collation the order of a table's rows cannot be told, nor a row be found. */
static bool is_reported(const struct wal_pair *p)
{
    bool unordered = p->now->unordered || (p->old && p->old->unordered);
    return p->touched && !unordered && table_has_events(p->now->table);
}

int wal_diff_rows(struct wal_diff *d, struct wal_output *out)
{
    int status = STATUS_OK;
    for (int i = 0; status == STATUS_OK && i < d->pair_count; i++)
        if (is_reported(&d->pairs[i]))
            status = wal_diff_join(d, &d->pairs[i], out);
    return status;
}
