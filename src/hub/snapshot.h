#ifndef ROWTAP_HUB_SNAPSHOT_H
#define ROWTAP_HUB_SNAPSHOT_H

#include "hub/dialect.h"

/*
 * The rows that a subscription with `snapshot` gets first. They are read in pages by the database's
 * pager, in one read transaction at one seq, and written in bounded messages at the end of the
 * loop's turns, no faster than the client reads. The subscription is filed like any other
 * meanwhile, but hears nothing; when the last row is written it goes on as a replay that begins at
 * that seq. Whenever its subscription goes, the snapshot only waits for the pager and ends the read
 * transaction. Loop thread only.
 */
struct session;
struct shard;
struct snapshot;
struct subscription;

/* Under way at a time: for one connection, and for all of one loop. */
#define SESSION_SNAPSHOTS 16
#define SHARD_SNAPSHOTS 4096

#define RESYNC_SNAPSHOT_TIMEOUT "snapshot_timeout"
#define RESYNC_SNAPSHOT_FAILED "snapshot_failed"

/* Another one may begin; false: the client was told why not. */
bool snapshot_allowed(struct session *s, const struct command *cmd);
/*
 * Begins one for a subscription that hears nothing from now on; it answers the command, which asked
 * in vain for the past if there is a reason. STATUS_NOMEM.
 */
int snapshot_start(struct subscription *sub, const struct command *cmd, const char *lost);
void snapshot_cancel(struct snapshot *s); /* its subscription goes; NULL is allowed */
void snapshot_drop(struct session *s);    /* all of a session: their subscriptions are live */
/* The same for those that show rows of before that change; whether there were any. */
bool snapshot_lose(struct session *s, uint64_t seq);
bool snapshot_shows_before(const struct snapshot *s, uint64_t seq);

void snapshot_run(struct shard *s);       /* one message of the next snapshot; there is one */
void snapshot_drained(struct session *s); /* the session's connection has room again */

#endif
