#ifndef ROWTAP_CLI_FEED_H
#define ROWTAP_CLI_FEED_H

#include "change/batch.h"
#include "cli/selection.h"
#include <stdbool.h>

/*
 * Batches as the lines that `rowtap watch` prints of the same changes: the server's messages, or
 * what a person reads of them.
 */
struct feed {
    struct selection selection;
    bool json, colour;
    char epoch[17];     /* the numbering of this run, in every message's id */
    struct buf out;     /* the lines */
    struct buf message; /* scratch */
    /* Called when there is much in `out`, and at the end of a batch. 0 or a negative status. */
    int (*flush)(struct buf *out);
};

/* All that comes before a failure is flushed. 0, what flush said, or a failure of the selection
 * with a sentence in err. */
int feed_put(struct feed *f, const struct batch *b, struct buf *err);
void feed_fini(struct feed *f);

#endif
