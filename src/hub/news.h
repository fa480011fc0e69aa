#ifndef ROWTAP_HUB_NEWS_H
#define ROWTAP_HUB_NEWS_H

#include "hub/dialect.h"

struct body;
struct session;
struct shard;

/*
 * One message from one loop to many of its sessions: encoded once for each dialect among them, and
 * shared. What has been queued is news: a slow connection's may be forgotten. Loop thread.
 */
struct news {
    struct shard *shard;
    struct reply *reply;           /* whole but for the epoch */
    const struct dialect *dialect; /* of the body */
    struct body *body;
};

/* False: it was not queued, for the session is closing or behind, or is closed for want of memory.
 */
bool news_send(struct news *n, struct session *s);
void news_end(struct news *n);

/*
 * To all in the reply's channel; `but` (NULL: nobody) is left out always, the connection `author`
 * where it wants no echo. Returns how many it was queued for.
 */
size_t news_to_channel(
    struct shard *shard, struct reply *r, const struct session *but, uint64_t author);

#endif
