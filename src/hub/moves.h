#ifndef ROWTAP_HUB_MOVES_H
#define ROWTAP_HUB_MOVES_H

#include "hub/dialect.h"

/*
 * The cursors of those in channel "collaboration" (hub/presence.h). They are not told one by one:
 * what has moved is told at the end of the turn, but then not again for MOVES_PAUSE_MS, or longer,
 * for telling may take a loop a quarter of its time. Only the newest position counts, and a member
 * that has much to read already gets none until it has read.
 */
struct session;
struct shard;

#define MOVES_PAUSE_MS 50

void moves_take(struct session *s, const struct command *cmd); /* COMMAND_CURSOR */
void moves_run(struct shard *shard);                           /* at the end of a turn */
void moves_measure(struct shard *shard);                       /* a new turn has begun */

#endif
