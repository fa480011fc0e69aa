#ifndef ROWTAP_CAPTURE_WAL_TREES_H
#define ROWTAP_CAPTURE_WAL_TREES_H

#include "capture/sqlconn.h"
#include "capture/wal/tree.h"

/*
 * Reads the schema as of a view, and how its tables are stored. Tables whose definition is that of
 * `previous` (may be NULL) are shared with it, and the others get their identities from it, as
 * schema_read does. Where the schema is known already it is `schema`, otherwise NULL.
 * STATUS_INVALID (SQLite cannot read it), STATUS_NOMEM.
 */
int trees_read(const struct wal_view *view, const struct trees *previous, struct schema *schema,
    struct trees **out);
void trees_free(struct trees *t); /* NULL is allowed */

#endif
