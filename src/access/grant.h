#ifndef ROWTAP_ACCESS_GRANT_H
#define ROWTAP_ACCESS_GRANT_H

#include "access/identity.h"
#include "access/policy.h"
#include "change/schema.h"
#include "filter/filter.h"

/* What one person may see of one definition of a table: the policy with the claims put in. */
struct grant {
    uint64_t *columns;   /* a bit set, 64 a word; NULL: all */
    struct filter *rows; /* NULL: all */
};

/*
 * What `who` may read of `t`. Without a policy that is everything. STATUS_NOT_FOUND: nothing, and
 * the table is to be treated as one that does not exist, be it denied or because the policy does
 * not fit it: a rule names a column that is not there, or the primary key, which every event shows,
 * is not readable. STATUS_NOMEM. grant_fini only after 0. Any thread.
 */
int grant_init(
    struct grant *g, const struct policy *p, const struct identity *who, const struct table *t);
/*
 * What `who` may write of it: g->columns are those that may be set, and a row has to meet g->rows
 * before and after. The rest as grant_init, but the key need not be among the columns.
 */
int grant_init_write(
    struct grant *g, const struct policy *p, const struct identity *who, const struct table *t);
void grant_fini(struct grant *g);

static inline bool grant_column(const struct grant *g, int column)
{
    return !g->columns || (g->columns[column / 64] >> (column % 64) & 1);
}

/* What needs no definition of a table. Without a policy (NULL) everybody may everything. */
bool grant_known(const struct policy *p, const struct identity *who); /* has a role of the file */
bool grant_sql(const struct policy *p, const struct identity *who);   /* may run SQL */
/* Every row and column of every table; and run SQL and write there too. */
bool grant_reads_all(const struct policy *p, const struct identity *who);
bool grant_unlimited(const struct policy *p, const struct identity *who);
bool grant_join(
    const struct policy *p, const struct identity *who, const char *channel, size_t len);
bool grant_broadcast(
    const struct policy *p, const struct identity *who, const char *channel, size_t len);

/*
 * A person's filter on a table, made as filter_new does, with the permitted rows; a column that may
 * not be read is one that does not exist.
 */
struct filter *grant_filter(const struct grant *g, const struct table *t, const char *const *texts,
    const size_t *lens, int count, char *err, size_t errlen, int *status);

#endif
