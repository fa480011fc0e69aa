#ifndef ROWTAP_CLI_SHOW_H
#define ROWTAP_CLI_SHOW_H

#include "base/buf.h"
#include <jansson.h>
#include <stdbool.h>

/* Server messages as lines for a person. */

/* The message is one of those that a watcher wants to see: changes, DDL, snapshots, resync. */
bool show_wants(const json_t *message);

/* Appends a line (or, for a snapshot, a line for each row) for a message that show_wants. */
void show_put(struct buf *out, json_t *message, bool colour);

#endif
