#ifndef ROWTAP_CLI_SHOW_H
#define ROWTAP_CLI_SHOW_H

#include "base/buf.h"
#include <jansson.h>
#include <stdbool.h>

/* Server messages as lines for a person. */

/* The message is one of those that a watcher wants to see: changes, DDL, snapshots, resync. */
bool show_wants(const json_t *message);

/* Appends why the server sent a resync: "the server's history began anew (epoch_changed)". */
void show_put_reason(struct buf *out, const json_t *message);

/* The same as the server's word for it, "" where it has none; it belongs to the message. */
const char *show_reason(const json_t *message);

/* Appends a line (or, for a snapshot, a line for each row) for a message that show_wants. */
void show_put(struct buf *out, json_t *message, bool colour);

#endif
