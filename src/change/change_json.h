#ifndef ROWTAP_CHANGE_CHANGE_JSON_H
#define ROWTAP_CHANGE_CHANGE_JSON_H

#include "change/batch.h"

/*
 * The JSON of rows and keys, shared by all dialects. `columns` is a bit set over column indexes
 * (64 columns a word, NULL: all). Values that are absent are left out.
 */
void row_put_json(
    struct buf *out, const struct table *t, const struct value *row, const uint64_t *columns);

/* {"id":1}; {"rowid":7} for a table without PRIMARY KEY or with a NULL in it. */
void key_put_json(struct buf *out, const struct table *t, const struct value *row, int64_t rowid);

/* The key of an UPDATE is another one afterwards. */
bool change_moved_key(const struct change *c);

/*
 * An UPDATE in which nothing that a client can see is different: no value and not the key. Such a
 * change is no event.
 */
bool change_is_empty(const struct change *c);

/* "INSERT", "UPDATE", "DELETE", "table:created", "table:altered", "table:dropped" */
const char *change_kind_name(enum change_kind kind);

/* The `changes` member of a DDL event: {"columns":[…],"renamed":[{"from","to"}],"renamedFrom":…} */
void ddl_put_json(struct buf *out, const struct change *c);

#endif
