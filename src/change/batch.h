#ifndef ROWTAP_CHANGE_BATCH_H
#define ROWTAP_CHANGE_BATCH_H

#include "change/receipt.h"
#include "change/schema.h"
#include "change/value.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The changes of one COMMIT: one or more transactions (a group commit holds several), each with its
 * changes in the order in which they are to be reported. A transaction too large for one batch
 * comes in several: all but the last of them `continues`, all but the first are `continued`, each
 * has changes of it, and the first has its schema. Built by the database thread; immutable and
 * counted by references once sealed, so that every loop may read it without a lock. All rows live
 * in the batch's own memory.
 *
 * Where changes could not be captured there is a gap: a batch without changes, perhaps with a
 * transaction for the schema after it. It takes one seq, so that nobody resumes across it; a
 * transaction that `continues` into it has no end.
 */
enum change_kind {
    CHANGE_INSERT,
    CHANGE_UPDATE,
    CHANGE_DELETE,
    CHANGE_TABLE_CREATED,
    CHANGE_TABLE_ALTERED,
    CHANGE_TABLE_DROPPED,
    CHANGE_ROWIDS_RENUMBERED, /* of the table, by VACUUM: no row is known by its rowid of before */
};

struct change {
    uint64_t seq;
    const struct table *table;     /* definition after the transaction; for DROPPED the last one */
    const struct table *old_table; /* ALTERED: the definition before; otherwise NULL */
    struct value *row; /* new values by column, table->column_count of them; NULL for DELETE */
    struct value *old; /* old values, likewise; NULL for INSERT */
    int64_t rowid, old_rowid; /* 0 for WITHOUT ROWID tables */
    uint8_t kind;             /* enum change_kind */
    bool external;            /* made by another process */
};

struct transaction {
    uint64_t tx;
    uint64_t origin;             /* the connection that asked for it, 0 for none */
    int64_t time_ms;             /* wall clock at the commit */
    const struct schema *schema; /* after it, when its DDL changed the schema; otherwise NULL */
    struct receipt *receipt;     /* its author waits for the delivery; a reference; or NULL */
    uint32_t first, count;       /* its range in changes */
};

struct batch_chunk;
struct batch {
    atomic_uint refs;
    struct change *changes;
    struct transaction *transactions;
    uint32_t change_count, change_cap;
    uint32_t transaction_count, transaction_cap;
    uint64_t first_seq, last_seq; /* after sealing */
    size_t bytes;                 /* memory held */
    size_t max_bytes;
    bool full;       /* see batch_full */
    bool continued;  /* its first transaction goes on from the last of the batch before */
    bool continues;  /* its last transaction goes on in the next batch */
    const char *gap; /* why changes are missing here, a static word; NULL: none are */
    struct batch_chunk *chunks;
    const struct table **tables; /* references held for the changes */
    size_t table_count, table_cap;
};

/*
 * A place to come back to: everything added after it is forgotten and its rows are freed; only the
 * tables stay held. Marks are nested: after a rewind to one, later marks are void.
 */
struct batch_mark {
    uint32_t change_count, transaction_count;
    struct batch_chunk *chunk;
    size_t chunk_used;
};

struct batch *batch_new(size_t max_bytes); /* one reference; 0 is no bound */
struct batch *batch_ref(struct batch *b);  /* any thread, after sealing */
void batch_unref(struct batch *b);         /* any thread */

struct batch_mark batch_mark(const struct batch *b);
void batch_rewind(struct batch *b, const struct batch_mark *mark);

/*
 * What adds to a batch fails with NULL, or with STATUS_NOMEM or STATUS_TOO_LARGE, when memory ran
 * out or max_bytes would be passed (see batch_full), and leaves the batch as it was.
 */
/* Room for `count` values, all ABSENT. */
struct value *batch_row(struct batch *b, int count);
/* *v = a copy of src (which may be v) whose text or blob lives in the batch. */
int batch_set_value(struct batch *b, struct value *v, const struct value *src);
bool batch_full(const struct batch *b); /* the last failure was max_bytes, not memory */

/*
 * A zeroed change at the end, with table set (and a reference held). The pointer is good until the
 * next batch_add.
 */
struct change *batch_add(struct batch *b, enum change_kind kind, const struct table *table);
/* Holds a reference to the table for as long as the batch lives. */
int batch_hold(struct batch *b, const struct table *table);

/*
 * Closes a transaction over all changes since the last one closed (or the start). One with neither
 * changes nor a schema is not recorded. `schema` may be NULL; a reference is taken.
 */
int batch_end_transaction(struct batch *b, uint64_t origin, const struct schema *schema);
/* Gives the transaction closed last a receipt, taking a reference. */
void batch_set_receipt(struct batch *b, struct receipt *receipt);

/* The index of the transaction that a change of a closed one belongs to. */
uint32_t batch_transaction_of(const struct batch *b, uint32_t change);

/* Gives every transaction without a time the present one. */
void batch_stamp(struct batch *b);

/*
 * Numbers everything: changes from *seq + 1, transactions from *tx + 1 (from *tx, where the batch
 * is `continued`), and moves both counters on; a gap is *seq + 1. A transaction without a time gets
 * the present one. All transactions are closed; no further change may be added.
 */
void batch_seal(struct batch *b, uint64_t *seq, uint64_t *tx);

#endif
