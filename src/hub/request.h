#ifndef ROWTAP_HUB_REQUEST_H
#define ROWTAP_HUB_REQUEST_H

#include "hub/dialect.h"

/*
 * Commands that are answered later: SQL, which other threads run, and reports that other loops or
 * the database have to be asked for. Many of one session may be on their way. What is on the way
 * belongs to whoever has it; when the session ends it is cancelled, and freed when it is back. Loop
 * thread only.
 */
struct session;

void request_run(struct session *s, const struct command *cmd);
void request_cancel_all(struct session *s); /* the session ends */

#endif
