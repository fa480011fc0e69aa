#ifndef ROWTAP_HUB_SYNC_H
#define ROWTAP_HUB_SYNC_H

#include "capture/database.h"
#include "change/schema.h"
#include "hub/dialect.h"

/*
 * A list of writes, as a client that was offline brings them back: rows of tables by name, turned
 * into SQL with quoted identifiers and bound parameters, and run as one transaction. Any thread.
 */
enum sync_kind { SYNC_SQL, SYNC_INSERT, SYNC_UPDATE, SYNC_DELETE };

struct sync_operation {
    enum sync_kind kind;
    struct text table;
    struct text *names;        /* of columns: first those to set, then those that say which rows */
    int data_count, key_count; /* the statement's parameters are their values, in this order */
};

struct sync {
    struct sql_request sql; /* a statement for each; its text is still missing but for SYNC_SQL */
    struct sync_operation *operations;
    int count;
};

/* NULL: no memory. The names are an array of that size, the sync's; texts stay the caller's. */
struct sync_operation *sync_add(struct sync *s, enum sync_kind kind, size_t names);
/*
 * Writes the SQL; of no operations there is none, and s->sql.json is the answer already.
 * STATUS_NOMEM, or STATUS_NOT_FOUND with what is not there (a table, a column), for who may do what
 * the policy says (NULL: everything), in s->sql.error.
 */
int sync_build(struct sync *s, const struct schema *schema, const struct policy *policy,
    const struct identity *who);
void sync_fini(struct sync *s); /* the request too */

#endif
