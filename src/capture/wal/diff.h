#ifndef ROWTAP_CAPTURE_WAL_DIFF_H
#define ROWTAP_CAPTURE_WAL_DIFF_H

#include "capture/wal/cells.h"
#include "capture/wal/locate.h"

/*
 * What a commit did to the rows, from the pages that it wrote: for each table the cells that these
 * pages held before are compared with those that they hold after, in key order (cells.h). Rows that
 * only moved to another page come out equal and are no changes.
 */

/* A table as it was and as it is; `now` is never NULL. */
struct wal_pair {
    const struct tree *old, *now;
    bool touched;
    bool whole; /* the tree was another table's: its pages need not have been written */
    struct u32map old_paths, paths; /* interior pages that lead to changed ones -> cells_range */
    struct u32map attached; /* the root, and the children of changed interior pages, as it is now */
    int *from; /* the old column for each new one, -1: none; NULL: the same definition */
};

struct wal_diff {
    struct wal_pages *pages;
    struct wal_view before, after;
    const struct trees *old_trees, *trees; /* the caller's */
    struct wal_pair *pairs;                /* as trees->items */
    int pair_count;
    int *old_pairs; /* old_trees->items -> pairs; -1: the table is gone */

    struct u32map changed; /* pages to compare */
    uint32_t *list;        /* the same */
    uint32_t list_count, list_cap;
    struct u32map claimed; /* of these, as they are now: part of a tree */

    struct u32map hints;  /* page -> root of the tree that it was found in last */
    struct u32map owners; /* overflow page -> page of its cell, when last seen */
};

/* Where changes go: in the order of the tables, and in each so that a replica can follow. */
struct wal_output {
    struct batch *batch;
    size_t max;    /* after so many bytes `full` is called, which may put another batch there */
    uint64_t skip; /* so many changes are left out first */
    int (*full)(struct wal_output *out); /* 0 or a status that ends it */
};

void wal_diff_init(struct wal_diff *d, struct wal_pages *pages);
void wal_diff_fini(struct wal_diff *d);
/* Trees that it was called with go; others may come to lie where they were. */
void wal_diff_forget(struct wal_diff *d);
/*
 * Looks which pages of which tables the commit between the two frames concerns. The trees are those
 * before and after it (the same where it changed no schema) and must stay until the next call, or
 * until wal_diff_forget.
 * STATUS_INVALID: what is there makes no sense. STATUS_IO, STATUS_NOMEM, STATUS_TOO_LARGE.
 */
int wal_diff_begin(struct wal_diff *d, uint32_t from, uint32_t to, const struct trees *old_trees,
    const struct trees *trees);
/* Adds the changes of rows, `external`, to the output. Statuses as above. */
int wal_diff_rows(struct wal_diff *d, struct wal_output *out);

/* For the parts of it. */
/* Counts the page among the changed ones and finds out which table it belongs to. */
int wal_diff_claim(struct wal_diff *d, uint32_t page);
/* Pages of overflow chains that changed while their cells' pages did not (owner.c). */
int wal_diff_adopt(struct wal_diff *d);
/* One table (join.c). */
int wal_diff_join(struct wal_diff *d, struct wal_pair *pair, struct wal_output *out);

#endif
