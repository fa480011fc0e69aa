#ifndef ROWTAP_HUB_CHANNEL_H
#define ROWTAP_HUB_CHANNEL_H

#include "base/list.h"
#include "base/map.h"
#include <stdbool.h>
#include <stddef.h>

/* The named channels of one loop and who joined them. Loop thread only. */
struct session;

struct channel {
    struct list members; /* of struct membership */
    size_t count;
    size_t len;
    char name[];
};

/* One session in one channel. */
struct membership {
    struct list node;
    struct channel *channel;
    struct session *session;
    struct follower *follower; /* while it gets the past: see hub/replay.h */
    uint64_t from; /* channel "tables": what came after this is heard, or is on its way */
    bool self;     /* false: leaves out what this session itself caused */
    uint64_t told; /* channel "collaboration": the last move of a cursor that it was told */
};

#define CHANNEL_NAME_MAX 128
#define CHANNEL_NOTIFICATIONS "notifications" /* every WebSocket is in it from the start */
#define CHANNEL_COLLABORATION "collaboration" /* whose members know of each other */

bool channel_name_valid(const char *name, size_t len); /* [A-Za-z0-9_:.-]{1,128} */
bool channel_is(const char *name, size_t len, const char *which);
/* Only the server itself speaks in it. */
bool channel_server_speaks(const char *name, size_t len);
struct channel *channel_find(const struct map *channels, const char *name, size_t len);
bool channel_is_tables(const struct channel *c);
/* Joins, creating the channel if it is new. The caller keeps the result; NULL: no memory. */
struct membership *channel_join(
    struct map *channels, const char *name, size_t len, struct session *session);
/* Leaves and frees; an empty channel goes with it. */
void channel_leave(struct map *channels, struct membership *m);

#endif
