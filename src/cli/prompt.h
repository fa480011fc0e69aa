#ifndef ROWTAP_CLI_PROMPT_H
#define ROWTAP_CLI_PROMPT_H

#include "cli/query.h"

/*
 * The prompt of `rowtap sql` on a terminal: lines are collected until a statement (or a transaction
 * from BEGIN to COMMIT) is complete, then run. History is kept in ~/.rowtap_history. 0, or
 * STATUS_NOMEM with a message.
 */
int prompt_run(struct query *q);

#endif
