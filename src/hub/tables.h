#ifndef ROWTAP_HUB_TABLES_H
#define ROWTAP_HUB_TABLES_H

#include <stdbool.h>

/*
 * What becomes of the tables themselves. DDL is told to the channel "tables"; a session that has
 * not joined it hears what concerns the tables it subscribes to by name, with its subscriptions,
 * whatever their events, filters and columns. Rowids that VACUUM renumbered are no DDL: who
 * subscribes to such a table, or to every table, is told to resynchronise. Loop thread only.
 */
struct fanout;
struct replay;
struct session;

void tables_deliver(struct fanout *f); /* to all that are live; ends the change */
/* The same for those that follow a replay. */
void tables_follow(struct fanout *f, struct replay *r);

/* The session may see all that the change of a table tells. */
bool tables_may_know(const struct fanout *f, const struct session *s);

#endif
