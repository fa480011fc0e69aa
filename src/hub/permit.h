#ifndef ROWTAP_HUB_PERMIT_H
#define ROWTAP_HUB_PERMIT_H

#include "hub/dialect.h"
#include <stdbool.h>

/*
 * What a session's role may do, but for tables: see hub/view.h. Without a policy that is
 * everything. Loop thread only.
 */
struct session;
struct shard;
struct policy;

bool permit_join(const struct session *s, struct text channel);
/* The command may be executed, its table apart; false: the client was told that it may not. */
bool permit_command(struct session *s, const struct command *cmd);

#define PERMIT_CHANGED "the policy was changed: connect again"
/*
 * From now on another policy holds (both there). Who has other rights by it is closed, with 1012:
 * whoever connects again gets what is right now, and goes on where the policy lets them. What they
 * have under way is cancelled. The others do not notice.
 */
void permit_follow(struct shard *s, struct policy *now);

#endif
