#ifndef ROWTAP_CAPTURE_SQLSHAPE_H
#define ROWTAP_CAPTURE_SQLSHAPE_H

#include "base/buf.h"
#include "change/schema.h"

/*
 * SQL as a log may show it: each literal and parameter is a ?, comments are left out, white space
 * is one space. In SQLite a "quoted" word may be a string too, so a quoted name is kept only where
 * `known` has a table or column of that name, and is "?" otherwise. Any thread.
 */
void sqlshape_put(
    struct buf *out, const char *sql, size_t len, size_t max, const struct schema *known);

#endif
