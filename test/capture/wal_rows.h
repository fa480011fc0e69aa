#ifndef ROWTAP_TEST_CAPTURE_WAL_ROWS_H
#define ROWTAP_TEST_CAPTURE_WAL_ROWS_H

#include "capture/wal/tree.h"
#include <sqlite3.h>

/*
 * All rows of a database, as SQLite's own SELECT gives them, and a replica of them that follows a
 * batch of changes: what the decoder's result is measured by.
 */
struct row {
    const struct table *table; /* of the schema given, not a reference */
    int64_t rowid;             /* 0 in tables WITHOUT ROWID */
    struct value *values;
};

struct rows {
    struct batch *memory;
    struct row *items;
    size_t count, cap;
};

/* Of the tables of the schema that have events. NULL: SQLite could not read it (see its message).
 */
struct rows *rows_read(sqlite3 *db, const struct schema *schema);
void rows_free(struct rows *r);

/*
 * Applies the changes to `old` and compares with `now`. Each must make sense where it stands: an
 * update or deletion names a row that is there, values included, an insertion one that is not; no
 * key is there twice; an update changes something; and there are no more changes than needed.
 * True, or a sentence in *wrong.
 */
bool rows_follow(const struct rows *old, const struct rows *now, const struct trees *trees,
    const struct batch *changes, struct buf *wrong);

#endif
