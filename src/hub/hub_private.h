#ifndef ROWTAP_HUB_HUB_PRIVATE_H
#define ROWTAP_HUB_HUB_PRIVATE_H

#include "hub/gate.h"
#include "hub/hub.h"
#include "hub/shard.h"

/* For hub.c and hub_stats.c only. */
struct hub {
    struct hub_options options; /* its strings and the schema are the hub's own */
    int64_t started_ms;         /* monotonic */
    struct shard **shards;
    int count, planned;      /* the same after the start */
    atomic_uint connections; /* reserved or adopted */
    atomic_ullong gaps;      /* published */
    atomic_size_t in_flight; /* bytes of broadcasts */
    atomic_ullong numbers;
    struct gate gate;        /* the publisher waits here for slow loops */
    pthread_mutex_t posting; /* nothing may be posted to a loop that was stopped */
    bool stopped;
    struct message *kept; /* what came back from the pager after that */
};

#endif
