#ifndef ROWTAP_HUB_CHANGESET_H
#define ROWTAP_HUB_CHANGESET_H

#include "base/list.h"
#include "hub/dialect.h"
#include "net/conn.h"

/*
 * The changes of the transaction being delivered that a session gets in one message (`batch`). Made
 * with the first of them, gone when the transaction is through. It holds nothing of the batch, so
 * that it may wait for the transaction's next batch, or a replay keep it from slice to slice. Loop
 * thread only.
 */
struct session;

struct changeset {
    struct session *session;
    struct list node; /* of all that are live, or alone in its replay's */
    struct buf items;
    const struct table *table; /* of the changes so far, a reference; NULL: of several */
    uint64_t seq;              /* of the last of them */
    struct transaction transaction;
    bool owed; /* a message said that more follows */
};

/* Bytes of items after which a message is sent with more to follow. */
#define CHANGESET_MAX (256u << 10)
/* Bytes that may wait for the transaction's next batch. */
#define CHANGESET_KEPT (4u << 10)

/* Adds a change to the session's, which is in `list`. STATUS_NOMEM: its connection was ended. */
int changeset_add(struct list *list, struct session *s, const struct change_message *m,
    const struct change_prefix *prefix, const struct body *body);
/* Sends what there is so far; more follows, if only the end. NULL is allowed. */
void changeset_split(struct changeset *c);
void changeset_free(struct changeset *c);       /* NULL is allowed */
void changeset_end(struct changeset *c);        /* sends the last of it and frees it; NULL too */
void changeset_finish(struct list *list);       /* sends and frees them all */
void changeset_drop(struct list *list);         /* frees them all */
void changeset_wait(struct list *list);         /* the transaction goes on in another batch */
struct changeset *changeset_of(struct list *l); /* the only one, or NULL */
/* A replay has come to the present in mid-transaction: its changeset is live from now on. */
void changeset_join(struct changeset *c, struct list *live);

#endif
