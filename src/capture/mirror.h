#ifndef ROWTAP_CAPTURE_MIRROR_H
#define ROWTAP_CAPTURE_MIRROR_H

#include "capture/database.h"
#include "capture/sqlconn.h"
#include "capture/statement_cache.h"

/*
 * SQL of somebody who may not see or write everything. A mirror is an empty database in memory with
 * a virtual table for each table that the role may read or write, with the permitted columns. Its
 * SQL is prepared and run there, and so never meets the file's schema: what is denied is not there.
 * The virtual tables run statements of their own on the connection to the file, which add the row
 * rule with the claims of whoever asks. See access/README.md.
 *
 * A mirror belongs to that connection, a role and a schema, and is used by one thread at a time. A
 * few are kept with each connection.
 */
struct mirror;

/*
 * The mirror for a request on `c`, as the connection to prepare and run its SQL on; the caller has
 * begun a transaction on `c`, so that all tables are seen at one moment. `schema` is what c sees
 * now (NULL: it is to be found out). NULL and a result code of SQLite in *rc.
 */
struct sqlconn *mirror_enter(
    struct sqlconn *c, const struct schema *schema, const struct sql_request *r, int *rc);
/* After its statements were given back. NULL is allowed. */
void mirror_leave(struct sqlconn *mirror);

/*
 * A statement is about to run, whose text is this; false: such statements are not run there, and
 * mirror->auth.denied says why.
 */
bool mirror_statement(
    struct sqlconn *mirror, const struct prepared *p, const char *sql, size_t len);

void mirrors_free(struct sqlconn *c); /* all of c's; none is in use */

#endif
