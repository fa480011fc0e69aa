#ifndef ROWTAP_CAPTURE_VALUES_H
#define ROWTAP_CAPTURE_VALUES_H

#include "change/value.h"
#include <sqlite3.h>

/*
 * A value of SQLite's as a struct value; text and blobs stay SQLite's and are valid until it
 * changes them. Integers in a column of REAL affinity are how SQLite stores such reals: they become
 * reals. STATUS_NOMEM when a conversion ran out of memory. AFFINITY_BLOB converts nothing.
 */
int values_from(struct value *v, sqlite3_value *from, enum affinity affinity);

int values_bind(
    sqlite3_stmt *s, int index, const struct value *v); /* copies nothing; SQLite's code */

#endif
