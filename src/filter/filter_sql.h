#ifndef ROWTAP_FILTER_FILTER_SQL_H
#define ROWTAP_FILTER_FILTER_SQL_H

#include "base/buf.h"
#include "filter/filter.h"

/*
 * The filter as an SQL condition on `table` (that it was bound to) which is true of exactly the
 * rows that filter_match accepts, with ?1, ?2, … for *params, which are the filter's. A filter
 * without conditions, or one that SQL cannot say, gives no text. The caller checks the buffer's
 * error.
 */
void filter_put_sql(const struct filter *f, const struct table *table, struct buf *sql,
    const struct value **params, int *count);

#endif
