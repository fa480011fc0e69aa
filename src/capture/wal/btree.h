#ifndef ROWTAP_CAPTURE_WAL_BTREE_H
#define ROWTAP_CAPTURE_WAL_BTREE_H

#include "base/buf.h"
#include "capture/wal/pages.h"

/*
 * B-tree pages (https://www.sqlite.org/fileformat2.html#b_tree_pages):
 *
 *   header at 0 (at 100 on page 1): type, first free block (2), cells (2), start of the cells'
 *   area (2), fragments, and on interior pages the right-most child (4); then a pointer (2) per
 * cell
 *
 *   type  page                cell
 *   13    table, leaf         size of the payload, rowid, payload, first overflow page (4)
 *   5     table, interior     left child (4), rowid
 *   10    index, leaf         size of the payload, payload, first overflow page (4)
 *   2     index, interior     left child (4), size of the payload, payload, first overflow page (4)
 *
 * Sizes and rowids are varints. What is looked at is checked against the page; the rest is not.
 */
struct btree_page {
    const uint8_t *data;
    uint32_t usable, number;
    uint32_t header; /* 0, or 100 on page 1 */
    int cell_count;
    bool leaf, table; /* table: keyed by rowid; otherwise an index's, keyed by record */
};

struct btree_cell {
    uint32_t child;       /* on interior pages: what is before this cell */
    int64_t rowid;        /* of table pages */
    uint32_t size;        /* of the payload */
    const uint8_t *local; /* its part in the page, of the page's memory */
    uint32_t local_size;
    uint32_t overflow; /* the page with the next part, 0: none */
};

/* STATUS_INVALID: it is no b-tree page. */
int btree_page_parse(struct btree_page *p, const uint8_t *data, uint32_t usable, uint32_t number);
/* Cell i, 0 <= i < cell_count. STATUS_INVALID: it does not fit into the page. */
int btree_page_cell(const struct btree_page *p, int i, struct btree_cell *c);
/* Of an interior page: the child before cell i, or the right-most one for cell_count. */
int btree_page_child(const struct btree_page *p, int i, uint32_t *child);

/* The longest payload that is read; SQLite itself goes up to 2^31 - 1. */
#define BTREE_PAYLOAD_MAX (256u << 20)

/*
 * The whole payload: in the page itself, or put together in `buf` (which is reset). Good as long as
 * both. STATUS_INVALID: the overflow chain is damaged. STATUS_TOO_LARGE, STATUS_NOMEM, STATUS_IO.
 */
int btree_payload(
    const struct wal_view *v, const struct btree_cell *c, struct buf *buf, const uint8_t **payload);
/*
 * Calls `seen` with each page of the cell's overflow chain until it gives something other than 0,
 * which becomes the result; 0 after the last; negative where the chain is damaged.
 */
int btree_overflow(const struct wal_view *v, const struct btree_cell *c,
    int (*seen)(void *ctx, uint32_t page), void *ctx);

#endif
