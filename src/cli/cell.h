#ifndef ROWTAP_CLI_CELL_H
#define ROWTAP_CLI_CELL_H

#include "base/buf.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* One SQLite value, as the server's JSON has it, in the forms in which it is shown. */

/* JSON as the server writes it: integers by digits, reals with a point, {"$base64":"…"}. */
void cell_put_json(struct buf *out, json_t *value);

/* A field of RFC 4180. NULL is an empty field, an empty text is "", a blob is x'…' in full. */
void cell_put_csv(struct buf *out, json_t *value);

/*
 * For a person, at most `max` columns (0: no bound): NULL, x'…' and text made visible; with
 * `quoted`, text stands in single quotes. Returns the columns taken.
 */
size_t cell_put(struct buf *out, json_t *value, size_t max, bool quoted);

/* An argument of the command line as a JSON parameter; see the help of `sql`. STATUS_INVALID. */
int cell_put_param(struct buf *out, const char *text);

#endif
