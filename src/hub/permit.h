#ifndef ROWTAP_HUB_PERMIT_H
#define ROWTAP_HUB_PERMIT_H

#include "hub/dialect.h"
#include <stdbool.h>

/*
 * What a session's role may do, but for tables: see hub/view.h. Without a policy that is
 * everything. Loop thread only.
 */
struct session;

bool permit_join(const struct session *s, struct text channel);
/* The command may be executed, its table apart; false: the client was told that it may not. */
bool permit_command(struct session *s, const struct command *cmd);

#endif
