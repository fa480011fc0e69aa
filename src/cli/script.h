#ifndef ROWTAP_CLI_SCRIPT_H
#define ROWTAP_CLI_SCRIPT_H

#include "cli/query.h"

/*
 * Runs a script of any length: as one request where it fits, otherwise cut between statements,
 * never inside a transaction. A transaction that is too large for one request fails, unless
 * `pieces` allows committing it in pieces. What `sqlite3 … .dump` writes is recognized: it is
 * loaded in one transaction with foreign keys deferred, or in several when the server takes no
 * request of that size, because a dump says BEGIN for speed only. Prints the last statement's
 * result. 0 or a negative status, message printed.
 */
int script_run(struct query *q, const char *text, size_t len, bool pieces);

#endif
