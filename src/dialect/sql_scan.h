#ifndef ROWTAP_DIALECT_SQL_SCAN_H
#define ROWTAP_DIALECT_SQL_SCAN_H

#include <stddef.h>
#include <stdint.h>

/*
 * The ordinary body of POST /api/sql, as sql_json_read takes it, read in one pass and without a
 * tree: a batch has thousands of values. What it takes it reads as sql_json_request would. Any
 * thread.
 */
struct sql_request;

/*
 * Fills *r (zeroed), whose values then point into the text, and *wait_ms. STATUS_INVALID: the text
 * is wrong, or has named parameters or something else that is not looked for here; then *r is
 * zeroed again. STATUS_NOMEM. sql_request_fini is due in every case.
 */
int sql_scan(struct sql_request *r, const char *text, size_t len, int64_t *wait_ms);

#endif
