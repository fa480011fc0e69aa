#ifndef ROWTAP_CAPTURE_WAL_LOCATE_H
#define ROWTAP_CAPTURE_WAL_LOCATE_H

#include "capture/wal/cells.h"

/* Pages on the way from a root to a page, without the page itself, and the child taken in each. */
struct tree_path {
    uint32_t pages[BTREE_DEPTH];
    int children[BTREE_DEPTH];
    int depth;
};

/*
 * Looks for a page in a tree by descending from the root with the page's first key: a page lies in
 * the tree if the way leads to it. `page` is parsed and has a cell, unless it is the root.
 * STATUS_NOT_FOUND: it is not in this tree. STATUS_INVALID: the tree is damaged; STATUS_IO,
 * STATUS_NOMEM.
 */
int locate_page(const struct wal_view *v, const struct trees *all, const struct tree *t,
    const struct btree_page *page, struct tree_path *path);

#endif
