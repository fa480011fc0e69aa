#ifndef ROWTAP_FILTER_FILTER_SQL_H
#define ROWTAP_FILTER_FILTER_SQL_H

#include "base/buf.h"
#include "filter/filter.h"

/*
 * A filter as conditions of SQL, one for each term, that are true for exactly the rows that
 * filter_match keeps. Each is ended by a NUL; buf_text then ends the list with another, as struct
 * scan (capture/scan.h) wants it. params[0 … count - 1] are the values for ?1, ?2, …; they are the
 * filter's. `t` is the table the filter was made for. STATUS_NOMEM or STATUS_TOO_LARGE.
 */
int filter_put_sql(const struct filter *f, const struct table *t, struct buf *sql,
    const struct value **params, int *count);

#endif
