#include "capture/wal/cells.h"

#include "base/status.h"

static bool has(const struct u32map *m, uint32_t page)
{
    return u32map_get(m, page, NULL);
}

/* Which steps are to be made in a page: all, or those that lead to others. */
static void set_bounds(const struct cells *c, struct cells_level *l, uint32_t number)
{
    uint32_t range;
    int count = l->parsed.cell_count;
    l->at = 0;
    l->end = l->parsed.leaf ? l->affected ? count : 0 : 2 * count + 1;
    if (l->parsed.leaf || l->affected || !u32map_get(c->paths, number, &range))
        return;
    l->at = 2 * (int)(range >> 16);
    if (2 * (int)(range & 0xffff) + 1 < l->end)
        l->end = 2 * (int)(range & 0xffff) + 1;
}

static int push(struct cells *c, uint32_t number, bool affected)
{
    struct cells_level *l = &c->stack[c->depth];
    /* Each page has one parent, so this is how many there can be. */
    if (c->depth == BTREE_DEPTH || c->visited++ >= c->view->most)
        return STATUS_INVALID;
    int status = wal_view_page(c->view, number, &l->page);
    if (status < 0)
        return status;
    c->depth++;
    l->affected = affected;
    status = btree_page_parse(&l->parsed, l->page->data, c->view->usable, number);
    if (status < 0 || l->parsed.table == c->tree->index)
        return STATUS_INVALID;
    set_bounds(c, l, number);
    return STATUS_OK;
}

static void pop(struct cells *c)
{
    wal_page_done(c->stack[--c->depth].page);
}

static int begin(struct cells *c)
{
    c->begun = true;
    if (!c->tree)
        return STATUS_OK;
    uint32_t root = c->tree->root;
    return push(c, root, has(c->changed, root) || (c->attached && !has(c->attached, root)));
}

static int visit_child(struct cells *c, const struct cells_level *l, int i)
{
    uint32_t child;
    int status = btree_page_child(&l->parsed, i, &child);
    if (status < 0)
        return status;
    bool lost = c->attached && l->affected && !has(c->attached, child);
    bool affected = lost || has(c->changed, child);
    return affected || has(c->paths, child) ? push(c, child, affected) : STATUS_OK;
}

/* One step within the page on top of the stack: 1 for a cell. */
static int step(struct cells *c, struct btree_cell *cell)
{
    struct cells_level *l = &c->stack[c->depth - 1];
    int at = l->at++, status;
    if (at >= l->end) {
        pop(c);
        return 0;
    }
    if (!l->parsed.leaf && at % 2 == 0)
        return visit_child(c, l, at / 2);
    if (!l->parsed.leaf && (!c->tree->index || !l->affected))
        return 0;
    status = btree_page_cell(&l->parsed, l->parsed.leaf ? at : at / 2, cell);
    return status < 0 ? status : 1;
}

int cells_next(struct cells *c, struct btree_cell *cell)
{
    int status = c->begun ? 0 : begin(c);
    while (status == 0 && c->depth > 0)
        status = step(c, cell);
    if (status != 1 || c->tree->index)
        return status;
    if (c->any && cell->rowid <= c->last_rowid)
        return STATUS_INVALID;
    c->any = true;
    c->last_rowid = cell->rowid;
    return 1;
}

void cells_end(struct cells *c)
{
    while (c->depth > 0)
        pop(c);
}
