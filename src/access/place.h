#ifndef ROWTAP_ACCESS_PLACE_H
#define ROWTAP_ACCESS_PLACE_H

#include "base/buf.h"
#include <stddef.h>

/* Where in a JSON text something stands, as a person would say it: roles.user.tables.notes.read[1]
 */
#define PLACE_MAX_DEPTH 16

struct place {
    int depth;
    struct place_step {
        const char *name; /* of an object's member; NULL: a list's item */
        size_t index;
    } steps[PLACE_MAX_DEPTH];
};

/* "the file" for the outermost value. */
void place_put(const struct place *p, struct buf *out);

/* The line, from 1, on which it begins in `text`, which is valid JSON; 0: it is not there. */
size_t place_line(const struct place *p, const char *text, size_t len);

#endif
