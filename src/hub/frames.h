#ifndef ROWTAP_HUB_FRAMES_H
#define ROWTAP_HUB_FRAMES_H

#include "change/batch.h"
#include "hub/dialect.h"
#include "hub/projection.h"
#include "net/conn.h"

/*
 * Messages about a change as whole frames, one behind the other in a body that a loop's connections
 * share: what many get is put together once, and a connection that gets all of it has nothing of
 * its own but where it begins and ends. Loop thread only.
 *
 * Frames of the present change are known by what makes them differ; only a few, because the others
 * are sent as a prefix and a body.
 */
#define FRAMES_MAX 4

struct frame {
    const struct projection *projection;
    uint32_t number; /* of the one subscription it names */
    uint8_t transition;
    uint32_t from, size; /* in the body */
    uint32_t before;     /* of it, before what all subscriptions get */
    uint32_t payload;
};

struct frames {
    struct body *body; /* what is being filled, or NULL */
    uint32_t number;   /* of the last one made */
    uint32_t used;
    uint32_t count;
    bool full; /* no more frames of this change */
    struct frame frame[FRAMES_MAX];
};

void frames_fini(struct frames *f);
void frames_next(struct frames *f); /* another change */

/* The frame for one subscription of that number, or NULL. Good until the next is added. */
static inline const struct frame *frames_find(
    const struct frames *f, const struct projection *p, uint32_t number, enum transition transition)
{
    for (uint32_t i = 0; i < f->count; i++) {
        const struct frame *known = &f->frame[i];

        if (known->projection == p && known->number == number && known->transition == transition)
            return known;
    }
    return NULL;
}

/*
 * Adds it. `m` is the change as the projection tells it. `scratch` is overwritten. NULL: the
 * message is to be sent otherwise.
 */
const struct frame *frames_add(struct frames *f, const struct projection *p, uint32_t number,
    enum transition transition, const struct change_message *m, struct buf *scratch);

/* What frames of that projection have behind their prefix, or {NULL, 0}. */
struct text frames_body(const struct frames *f, const struct projection *p);

#endif
