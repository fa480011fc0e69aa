#ifndef ROWTAP_HUB_PRESENCE_H
#define ROWTAP_HUB_PRESENCE_H

#include "base/buf.h"
#include "base/list.h"
#include "hub/dialect.h"

/*
 * Who is in channel "collaboration", and where their cursors are.
 *
 * Every loop keeps a copy of the whole. What happens to a connection is posted by its own loop to
 * all others, in order; so whichever way the posts of several loops mix, the copies end up the
 * same, and what a member is told (its loop's state when it joined, then that loop's news) always
 * adds up to its loop's copy. A user is there while one connection of the user is; who is nobody is
 * a user for as long as the connection lasts. Coming and going take no memory but what the joining
 * took, so they cannot get lost.
 */
struct membership;
struct presence;
struct session;
struct shard;

#define PRESENCE_POSITION_MAX 256 /* bytes of a cursor's position */
#define PRESENCE_BUCKETS 1024

/* One loop's copy; its thread only. */
struct presence_room {
    struct list present;                   /* of struct copy; those of a user side by side */
    struct list buckets[PRESENCE_BUCKETS]; /* the same by user */
    size_t connections, users;
    struct list unsaid; /* own connections whose moves other loops have not been told */
    struct list fresh;  /* copies that have moved since the members were told */
    struct list moved;  /* copies that members were told of, by `seq` */
    uint64_t seq;       /* counts moves told */
    bool behind;        /* a member was left out: it has much to read */
    int64_t next_ms;    /* when the members are told again */
    int64_t began_ns;   /* of a telling whose costs are being measured, or 0 */
    struct buf views;   /* of struct present */
};

void presence_init(struct presence_room *room);
void presence_fini(struct presence_room *room);

/*
 * The session has joined the channel of the membership, or asks again: if it is "collaboration"
 * others are told, and the reply is given who is there. STATUS_NOMEM: the session must end.
 */
int presence_enter(struct session *s, struct membership *m, struct reply *r);
void presence_leave(struct session *s); /* after its membership went; may not have been present */

#endif
