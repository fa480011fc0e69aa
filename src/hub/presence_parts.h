#ifndef ROWTAP_HUB_PRESENCE_PARTS_H
#define ROWTAP_HUB_PRESENCE_PARTS_H

#include "base/mailbox.h"
#include "hub/presence.h"

#include <stdatomic.h>

/* What presence.c (who is there) and moves.c (where) share. */

struct body;

/* A position and what names the message that tells it. */
struct place {
    uint64_t number;
    int64_t time_ms;
    size_t len; /* 0: nowhere */
    char text[PRESENCE_POSITION_MAX];
};

struct copy {
    struct message joined, left;
    struct presence *presence;
    struct list node;   /* of the room's present, or alone: not there */
    struct list bucket; /* of its user's bucket */
    struct list moved;  /* of the room's fresh or moved, or alone */
    uint64_t seq;
    struct body *body;             /* the message that tells where it is, once somebody got it */
    const struct dialect *dialect; /* of that */
    struct place place;
};

/* One connection in the room. Constant but for what is marked. */
struct presence {
    atomic_int copies; /* loops that have not done with it */
    uint64_t connection, bucket;
    bool nobody; /* named after the connection */
    struct text user;
    struct list unsaid;          /* home loop */
    uint64_t joined_id, left_id; /* the latter from when it has left */
    int64_t joined_ms, left_ms;
    struct copy at[];
};

struct copy *presence_copy(const struct shard *shard, struct presence *p);
struct text presence_position(const struct copy *c);
/* About that connection's user, to the channel. */
struct reply presence_reply(const struct presence *p, enum reply_type type);

#endif
