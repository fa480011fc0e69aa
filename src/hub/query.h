#ifndef ROWTAP_HUB_QUERY_H
#define ROWTAP_HUB_QUERY_H

#include "hub/dialect.h"

/*
 * SQL that a client runs over its connection (capture/cursor.h): started, told how far it is, and
 * answered with the rows, in messages that are written at the end of the loop's turns, one page
 * each and no faster than the client reads. A client that reads slowly slows its own queries only.
 * When the connection goes, its queries are cancelled; what is on the way to another thread belongs
 * to it, and is freed when it is back. Everything is told to channel "queries" too (query_news.h).
 * Loop thread only.
 */
struct session;
struct shard;

void query_start(struct session *s, const struct command *cmd);
void query_cancel(struct session *s, const struct command *cmd);
void query_drop(struct session *s); /* the session ends */

void query_write(struct shard *s);     /* one message of the next query; there is one */
void query_drained(struct session *s); /* the session's connection has room again */

#endif
