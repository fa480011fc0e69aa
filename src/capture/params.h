#ifndef ROWTAP_CAPTURE_PARAMS_H
#define ROWTAP_CAPTURE_PARAMS_H

#include "capture/database.h"
#include "capture/statement_cache.h"

/*
 * The parameters of one text, which may hold several statements: those by position are used up in
 * order, those by name go to every statement that mentions them.
 */
struct params {
    const struct sql_statement *from;
    struct map names; /* without their first character -> struct sql_param */
    int next;         /* the first one by position that was not used yet */
};

/*
 * Compares what was given with what the text asks for, before anything runs. `known`: how many by
 * position it takes, if that is known (statement_cache_params), otherwise negative. STATUS_INVALID
 * with a sentence in `error`, or STATUS_NOMEM. params_fini in any case.
 */
int params_init(
    struct params *p, const struct sql_statement *from, int known, struct sql_error *error);
void params_fini(struct params *p);
/* Binds what this statement wants; the values stay the request's. A result code of SQLite. */
int params_bind(struct params *p, struct prepared *statement);

#endif
