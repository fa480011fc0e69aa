#ifndef ROWTAP_HUB_BROADCAST_H
#define ROWTAP_HUB_BROADCAST_H

#include "hub/dialect.h"

/*
 * What a client sends to a channel. The sender's loop delivers to its own members at once and hands
 * the message to the others; the last of them to have queued it sends the count back. All of a
 * sender's broadcasts take the same way, so they arrive in order. What is on its way between loops
 * is bounded (hub_charge). hub_broadcast, in hub.h, is the same from outside.
 */
struct session;

/* Executes the command; it is acknowledged when all loops have queued it. Loop thread. */
void broadcast_run(struct session *s, const struct command *cmd);
/* The session ends: nobody waits for its acknowledgements. Its loop's thread. */
void broadcast_forget_sender(struct session *s);

#endif
