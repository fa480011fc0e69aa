#ifndef ROWTAP_HUB_CHANGESET_H
#define ROWTAP_HUB_CHANGESET_H

#include "hub/dialect.h"
#include "net/conn.h"

/*
 * The changes of the transaction being delivered that a session gets in one message (`batch`). Made
 * with the first of them, gone when the transaction is through. It holds nothing of the batch, so
 * that a replay may keep it from slice to slice. Loop thread only.
 */
struct session;

struct changeset {
    struct session *session;
    struct changeset *next; /* chain of all */
    struct buf items;
    const struct table *table; /* of the changes so far, a reference; NULL: of several */
    uint64_t seq;              /* of the last of them */
    struct transaction transaction;
    bool owed; /* a message said that more follows */
};

/* Bytes of items after which a message is sent with more to follow. */
#define CHANGESET_MAX (256u << 10)

/* Adds a change. STATUS_NOMEM: its connection was ended. */
int changeset_add(struct changeset **chain, struct session *s, const struct change_message *m,
    const struct change_prefix *prefix, const struct body *body);
/* Sends what there is so far; more follows, if only the end. */
void changeset_split(struct changeset *c);
void changeset_finish(struct changeset **chain); /* sends and frees them all */
void changeset_drop(struct changeset **chain);   /* frees them all */

#endif
