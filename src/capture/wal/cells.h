#ifndef ROWTAP_CAPTURE_WAL_CELLS_H
#define ROWTAP_CAPTURE_WAL_CELLS_H

#include "capture/wal/tree.h"

/* Deeper trees cannot be: SQLite's own bound. */
#define BTREE_DEPTH 20

/*
 * The cells, in key order, of those pages of a tree that a commit has to do with. In the tree as it
 * was before, these are the pages that the commit wrote and the ones that the tree lost by it; in
 * the tree as it is after, the pages that the commit wrote. (A page that joins a tree is always
 * written; one that leaves it often is not.)
 */
struct cells_level {
    struct wal_page *page;
    struct btree_page parsed;
    int at;  /* leaf: the next cell; interior: twice the next child, or that and 1 for a cell */
    int end; /* the place behind the last one */
    bool affected; /* its cells count */
};

/* The children of such a page that lead there lie between these two, packed into one number. */
static inline uint32_t cells_range(int first, int last)
{
    return (uint32_t)first << 16 | (uint32_t)last;
}

struct cells {
    const struct wal_view *view;
    const struct tree *tree;
    const struct u32map *changed;  /* pages that count */
    const struct u32map *paths;    /* interior pages that lead to them -> cells_range */
    const struct u32map *attached; /* before: children in the tree as it is after; NULL: none
                                     is lost; an empty one: all of the tree counts */
    struct cells_level stack[BTREE_DEPTH];
    int depth;
    uint32_t visited;
    bool begun;
    int64_t last_rowid;
    bool any; /* last_rowid is set */
};

/*
 * The next cell, good until the next call: 1; 0 after the last; STATUS_INVALID where the tree is
 * damaged, STATUS_IO, STATUS_NOMEM. The caller sets the first five members, the rest is zero.
 */
int cells_next(struct cells *c, struct btree_cell *cell);
void cells_end(struct cells *c); /* in any case */

#endif
