#ifndef ROWTAP_HUB_QUERY_NEWS_H
#define ROWTAP_HUB_QUERY_NEWS_H

#include "hub/dialect.h"
#include "hub/hub.h"

/*
 * Channel "queries": who joined it, on whatever loop, hears how the queries of all connections
 * start, go on and end: their text without the values in it, and figures, but no parameters, no
 * results, and no messages of errors, which may quote values. Who may not read every
 * table hears of the queries of their own user alone. Encoded once per loop and dialect.
 */
struct session;
struct shard;

#define QUERY_CHANNEL "queries"

/* Tells all loops; *r is one of the query's reports. Not told where memory runs out. Loop thread.
 */
void query_news(struct session *from, enum reply_type type, const struct query_report *r);
/* One more has joined the channel on a loop, or (-1) one less. */
void query_news_count(struct shard *s, int more);

#endif
