#ifndef ROWTAP_HUB_PROJECTION_H
#define ROWTAP_HUB_PROJECTION_H

#include "base/map.h"
#include "hub/dialect.h"
#include "net/conn.h"

/*
 * One way of writing a change: a dialect and a set of columns. All subscriptions of a loop that
 * want the same share one projection, which keeps the body of the change being delivered, so that
 * each is encoded at most once. Loop thread only.
 */
enum projection_shape {
    PROJECTION_AS_IT_IS,
    PROJECTION_GONE, /* an UPDATE as the DELETE of the old row */
    PROJECTION_CAME, /* an UPDATE as the INSERT of the new row */
};

struct projection {
    const struct dialect *dialect;
    uint8_t shape;   /* enum projection_shape */
    uint64_t serial; /* orders a connection's messages about one change */
    uint32_t refs;
    struct map *set;              /* where it is filed; outlives it */
    struct body *body;            /* of the present change, or NULL */
    struct projection *next_used; /* chain of those that have a body */
    size_t words;                 /* of the bit set; 0: every column */
    uint64_t key[];               /* the dialect's address, the shape, then the bit set */
};

/*
 * The projection for `dialect`, the shape and the bit set of `words` words, with a reference that
 * projection_put gives back. `serial` counts new ones. NULL: no memory.
 */
struct projection *projection_get(struct map *set, uint64_t *serial, const struct dialect *dialect,
    enum projection_shape shape, const uint64_t *columns, size_t words);
void projection_put(struct projection *p); /* NULL is allowed */

/* The bit set over the table's columns, NULL for all. */
static inline const uint64_t *projection_columns(const struct projection *p)
{
    return p->words ? p->key + 2 : NULL;
}

#endif
