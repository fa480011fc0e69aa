#ifndef ROWTAP_CLI_SELECTION_H
#define ROWTAP_CLI_SELECTION_H

#include "change/batch.h"
#include "cli/options.h"
#include "filter/filter.h"
#include "hub/dialect.h"

/*
 * Which of a file's changes are wanted: those of some tables, of some kinds, of rows that match
 * filters. A name stands for whatever table has it, so a table that is dropped and created again
 * is still followed.
 */
struct selection {
    char *const *tables; /* of the command line; none: every table */
    int table_count;
    const struct option_list *filters; /* of the one table */
    uint32_t events;                   /* bits of EVENTS_ALL */
    struct filter *filter;             /* bound to `bound`, or NULL */
    const struct table *bound;         /* a reference */
};

/* "insert, delete" as bits; NULL is all. 0 and a sentence in err when there is no such event. */
uint32_t selection_events(const char *list, struct buf *err);

/*
 * The tables are there and the filters fit. STATUS_NOT_FOUND, STATUS_INVALID or STATUS_NOMEM, and a
 * sentence in err, which calls the database `path`.
 */
int selection_check(
    struct selection *s, const struct schema *schema, const char *path, struct buf *err);

/*
 * 1 when the change is wanted, and for an UPDATE *transition says which row matched; 0 when not. A
 * filter that does not fit the table as it has become is a failure, as above.
 */
int selection_wants(
    struct selection *s, const struct change *c, enum transition *transition, struct buf *err);

void selection_fini(struct selection *s);

#endif
