#ifndef ROWTAP_CAPTURE_UNIT_H
#define ROWTAP_CAPTURE_UNIT_H

#include "capture/writer.h"

/* The units of a request, and the user's savepoints in them. Result codes are SQLite's. */

int unit_begin(struct writer *w, bool by_statement);
/* Alone only; the statement itself begins and commits. */
int unit_begin_autocommit(struct writer *w, bool vacuum);
/*
 * Ends the unit for good. On failure the unit is still open and must be rolled back:
 * SQLITE_CONSTRAINT_FOREIGNKEY (deferred keys), SQLITE_NOMEM, what the recorder's failure says, or
 * what COMMIT said.
 */
int unit_commit(struct writer *w);
void unit_rollback(struct writer *w); /* sets w->lost where the group cannot go on */
/* Foreign keys are deferred no more, where a request has asked for that. */
int unit_check_keys_at_once(struct writer *w);
/* The part of unit_commit that fills the batch. */
int unit_close(struct writer *w);
/* After an autocommit statement ended: publishes or forgets. Whether it was committed. */
bool unit_end_autocommit(struct writer *w);

int unit_savepoint(struct writer *w, const char *name); /* after the statement ran */
void unit_release(struct writer *w, const char *name);
void unit_rollback_to(struct writer *w, const char *name);

#endif
