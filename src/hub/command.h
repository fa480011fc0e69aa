#ifndef ROWTAP_HUB_COMMAND_H
#define ROWTAP_HUB_COMMAND_H

#include "hub/dialect.h"

struct session;

/* Executes a command that was decoded without error, and answers it. Loop thread. */
void command_run(struct session *s, const struct command *cmd);

/* Its channel's name is well-formed; false: the client was told that it is not. */
bool command_channel_ok(struct session *s, const struct command *cmd);

#endif
