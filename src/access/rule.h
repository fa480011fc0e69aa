#ifndef ROWTAP_ACCESS_RULE_H
#define ROWTAP_ACCESS_RULE_H

#include "base/buf.h"
#include <jansson.h>
#include <stdbool.h>

/*
 * A row rule: a condition of the filter language (filter/filter.h) in which {name} stands for the
 * claim of that name, as a whole value: user_id={sub}, team in ({team},'all'). Inside of quotes
 * braces are ordinary characters. Immutable; any thread.
 */
struct rule {
    char *text; /* as written */
    int claim_count;
    struct rule_claim *claims; /* in the order of the text */
};

struct rule_claim {
    size_t start, end; /* in text: from the { to behind the } */
    char *name;
};

/* NULL: STATUS_INVALID and a sentence in err, or STATUS_NOMEM, in *status. */
struct rule *rule_new(const char *text, struct buf *err, int *status);
void rule_free(struct rule *r); /* NULL is allowed */

/*
 * Writes the condition with the claims' values, quoted so that none can become more than a value.
 * False: a claim is missing, null, a list, an object or text with a NUL, so that no row is
 * permitted; `out` is then to be thrown away, as after an error of it.
 */
bool rule_put(const struct rule *r, const json_t *claims, struct buf *out);

#endif
