#ifndef ROWTAP_HUB_FANOUT_H
#define ROWTAP_HUB_FANOUT_H

#include "change/batch.h"

struct shard;

/* Delivers a batch's changes to the shard's connections, in order. Loop thread. */
void fanout_batch(struct shard *s, const struct batch *b);

#endif
