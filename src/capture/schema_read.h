#ifndef ROWTAP_CAPTURE_SCHEMA_READ_H
#define ROWTAP_CAPTURE_SCHEMA_READ_H

#include "capture/sqlconn.h"
#include "change/schema.h"

/*
 * The schema as the connection sees it now, with one reference. Tables whose definition is that of
 * `previous` (NULL: none) are shared with it; the others get their identities from it
 * (schema_diff.h). SQLITE_OK, or an error of SQLite and *out NULL.
 */
int schema_read(struct sqlconn *c, const struct schema *previous, struct schema **out);

#endif
