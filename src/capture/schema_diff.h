#ifndef ROWTAP_CAPTURE_SCHEMA_DIFF_H
#define ROWTAP_CAPTURE_SCHEMA_DIFF_H

#include "change/batch.h"
#include "change/schema.h"

/*
 * Gives the tables of `fresh` that it does not share with `previous` (NULL: none), and their
 * columns, their identities: the same as before under the same name; the same for a table or column
 * that was renamed; new ones otherwise. Exact when at most one statement lies between the two.
 */
void schema_diff_identify(const struct schema *previous, struct schema *fresh);

/* Where one unit's changes stand in the batch, and the schemas around it. */
struct schema_diff {
    struct batch *batch;
    uint32_t first; /* of the unit's changes */
    const struct schema *before, *after;
    bool external;
    /* The value that rows got in a column which was added after they were captured. 0 or a status.
     */
    int (*default_value)(void *ctx, const struct column *column, struct value *value);
    void *ctx;
};

/*
 * Makes the end of a transaction: adds the events of its DDL in the order of the contract (created
 * and altered, rows, dropped), brings the rows to the final definitions and leaves out those of
 * tables that are gone without a trace. 0, STATUS_NOMEM or STATUS_TOO_LARGE.
 */
int schema_diff_finish(const struct schema_diff *d);

/*
 * The same in two parts, for rows that are already as the final definitions have them and may be
 * too many for one batch: what comes before the rows, and what comes after them. `first` and
 * default_value are not used. STATUS_NOMEM or STATUS_TOO_LARGE.
 */
int schema_diff_announce(const struct schema_diff *d);
int schema_diff_retire(const struct schema_diff *d);

#endif
