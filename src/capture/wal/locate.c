#include "capture/wal/locate.h"

#include "base/status.h"

struct seek {
    const struct wal_view *view;
    const struct trees *all;
    const struct tree *tree;
    struct btree_cell first; /* of the page that is looked for */
    struct buf key_buf, buf;
    const uint8_t *key; /* of an index: its payload */
};

/* *order: the page's key against cell i's. */
static int compare(struct seek *s, const struct btree_page *p, int i, int *order)
{
    struct btree_cell c;
    const uint8_t *payload;
    int status = btree_page_cell(p, i, &c);
    if (status < 0)
        return status;
    if (!s->tree->index) {
        *order = s->first.rowid < c.rowid ? -1 : s->first.rowid > c.rowid;
        return STATUS_OK;
    }
    status = btree_payload(s->view, &c, &s->buf, &payload);
    if (status < 0)
        return status;
    return tree_compare(s->all, s->tree, s->key, s->first.size, payload, c.size, order);
}

/* The child in which the key is, or may be. An equal key of an index is the cell itself. */
static int find_child(struct seek *s, const struct btree_page *p, int *index, uint32_t *child)
{
    int low = 0, high = p->cell_count;
    while (low < high) {
        int middle = low + (high - low) / 2, order;
        int status = compare(s, p, middle, &order);
        if (status < 0)
            return status;
        if (order == 0 && s->tree->index)
            return STATUS_NOT_FOUND;
        if (order <= 0)
            high = middle;
        else
            low = middle + 1;
    }
    *index = low;
    return btree_page_child(p, low, child);
}

static int descend(struct seek *s, uint32_t target, struct tree_path *path)
{
    uint32_t number = s->tree->root;
    while (number != target) {
        struct wal_page *page;
        struct btree_page p;
        if (path->depth == BTREE_DEPTH)
            return STATUS_INVALID;
        path->pages[path->depth] = number;
        int status = wal_view_page(s->view, number, &page);
        if (status < 0)
            return status;
        status = btree_page_parse(&p, page->data, s->view->usable, number);
        if (status == STATUS_OK && p.table == s->tree->index)
            status = STATUS_INVALID;
        if (status == STATUS_OK)
            status = p.leaf ? STATUS_NOT_FOUND
                            : find_child(s, &p, &path->children[path->depth++], &number);
        wal_page_done(page);
        if (status < 0)
            return status;
    }
    return STATUS_OK;
}

int locate_page(const struct wal_view *v, const struct trees *all, const struct tree *t,
    const struct btree_page *page, struct tree_path *path)
{
    struct seek s = {.view = v, .all = all, .tree = t};
    path->depth = 0;
    if (page->number == t->root)
        return STATUS_OK;
    if (page->table == t->index || page->cell_count == 0 || t->unordered)
        return STATUS_NOT_FOUND;
    int status = btree_page_cell(page, 0, &s.first);
    /* What is no longer part of a tree may be in any state. */
    if (status == STATUS_OK && t->index)
        status = btree_payload(v, &s.first, &s.key_buf, &s.key);
    if (status == STATUS_OK && t->index && !tree_has_key(t, s.key, s.first.size))
        status = STATUS_NOT_FOUND;
    if (status == STATUS_INVALID || status == STATUS_TOO_LARGE)
        status = STATUS_NOT_FOUND;
    if (status == STATUS_OK)
        status = descend(&s, page->number, path);
    buf_fini(&s.key_buf);
    buf_fini(&s.buf);
    return status;
}
