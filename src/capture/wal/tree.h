#ifndef ROWTAP_CAPTURE_WAL_TREE_H
#define ROWTAP_CAPTURE_WAL_TREE_H

#include "capture/wal/btree.h"
#include "change/batch.h"

/*
 * How the tables of a schema are stored: each in a b-tree of its own, keyed by rowid, or, WITHOUT
 * ROWID, by the record's first fields. Built from a schema by trees.h; read only afterwards.
 */
struct tree_key {
    uint8_t collation; /* enum collation */
    bool descending;
};

struct tree {
    const struct table *table; /* the schema's */
    uint32_t root;
    bool index;
    bool unordered; /* an index whose collation only some application knows */
    int field_count;
    int *fields; /* the column that each field of a record is */
    int key_count;
    struct tree_key *keys;  /* of an index: of its first fields */
    struct value *defaults; /* by column: of a field that a record is too short for */
};

struct trees {
    struct schema *schema; /* a reference */
    struct table *master;  /* the schema's own table; a reference */
    uint8_t encoding;
    int count;
    struct tree *items;
    struct u32map roots;  /* root -> place in items + 1 */
    struct batch *memory; /* of the defaults */
};

/*
 * The row of a cell, by column: values in the batch's memory, virtual generated columns ABSENT.
 * NULL in *row and STATUS_INVALID (damaged), STATUS_NOMEM or STATUS_TOO_LARGE (the batch's bound).
 * `text` is used on the way.
 */
int tree_row(const struct trees *all, const struct tree *t, int64_t rowid, const uint8_t *payload,
    size_t size, struct batch *b, struct buf *text, struct value **row);

/*
 * The order of two records in an index. *order is <0, 0 or >0. STATUS_INVALID: one is damaged.
 * STATUS_NOMEM.
 */
int tree_compare(const struct trees *all, const struct tree *t, const uint8_t *a, size_t a_size,
    const uint8_t *b, size_t b_size, int *order);
/* Whether the record has the fields that tree_compare looks at. */
bool tree_has_key(const struct tree *t, const uint8_t *payload, size_t size);
/* Whether records of both can be compared with each other. */
bool tree_same_order(const struct tree *a, const struct tree *b);

#endif
