#ifndef ROWTAP_HUB_VIEW_H
#define ROWTAP_HUB_VIEW_H

#include "filter/filter.h"
#include "hub/dialect.h"
#include "hub/projection.h"

/*
 * How one subscription sees the rows of one definition of its table: what the client asked for,
 * within what the policy lets it see. Loop thread only.
 */
struct topics;
struct subscription;
struct session;

struct view {
    struct projection *change;  /* a change as it is */
    struct view_limits *limits; /* NULL: the policy hides nothing */
};

/*
 * *filter is the caller's then: the client's conditions and the policy's. Projections to some of
 * the table's columns are filed in `set`. STATUS_NOMEM, or another and *err:
 * a filter or a column does not fit, or the table is not to be seen at all.
 */
int view_init(struct view *v, struct filter **filter, struct topics *t, struct map *set,
    const struct table *table, const struct subscription *s, struct error_text *err);
void view_fini(struct view *v); /* a zeroed one is allowed */

/*
 * The projection for a change, and in *kind as what it is told (it begins as the change's own);
 * NULL: nothing of it may be seen.
 */
struct projection *view_limited(const struct view *v, const struct change *c, uint8_t *kind);
static inline struct projection *view_of(
    const struct view *v, const struct change *c, uint8_t *kind)
{
    return v->limits ? view_limited(v, c, kind) : v->change;
}

/* Whether the session may know of a table, as it is defined; STATUS_NOT_FOUND or STATUS_NOMEM. */
int view_allows(const struct session *s, const struct table *table);
/* Whether it may see the whole of a table's definition. */
bool view_allows_all(const struct session *s, const struct table *table);

#endif
