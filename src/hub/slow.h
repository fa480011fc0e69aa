#ifndef ROWTAP_HUB_SLOW_H
#define ROWTAP_HUB_SLOW_H

/*
 * Slow consumers that are not closed (--on-slow resync): what was queued for one has been
 * forgotten, it hears nothing more, and when it has read the rest it is told to resynchronise and
 * is live again. Loop thread only.
 */
struct session;
struct shard;

void slow_begin(void *session);       /* a conn_ops.forgotten */
void slow_drained(struct session *s); /* it has read all that was left */
void slow_run(struct shard *shard);   /* at the end of a turn: those that have are live again */

#endif
