#ifndef ROWTAP_CLI_TABLE_H
#define ROWTAP_CLI_TABLE_H

#include "base/buf.h"
#include <jansson.h>
#include <stdbool.h>

/*
 * The rows of an answer ({"columns":[…],"rows":[[…],…]}) for printing. An answer whose members are
 * of other types prints nothing; table_check says so first. Memory: buf_error of `out`.
 */
bool table_check(const json_t *answer); /* it has columns and rows that fit them */

/*
 * An aligned table with a header, numbers to the right. Columns are as wide as their widest value,
 * at most `max` each (0: no bound).
 */
void table_put(struct buf *out, const json_t *answer, size_t max, bool colour);

/* RFC 4180 with a header line; lines end with \r\n as it wants. */
void table_put_csv(struct buf *out, const json_t *answer);

/*
 * A JSON array with one object for each row, a row on each line. The second and later columns of
 * one name are called name:2, name:3.
 */
void table_put_objects(struct buf *out, const json_t *answer);

#endif
