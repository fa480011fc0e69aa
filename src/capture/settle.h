#ifndef ROWTAP_CAPTURE_SETTLE_H
#define ROWTAP_CAPTURE_SETTLE_H

#include "capture/follower.h"

/*
 * Keeps the log small: moves the follower's pin on, has the log copied into the file, and parks the
 * pin so that the next commit restarts the log (capture/tracker.h). With `hurry` somebody waits for
 * us, and what can be done when all is quiet is left until then. In no transaction, after
 * follower_run. Whether both should be called again at once. Database thread only.
 */
bool settle_run(struct follower *f, bool hurry);
/* After a commit of our own: there is something to do. */
bool settle_is_due(const struct follower *f);
/*
 * Around a checkpoint that a user asks for, after a commit of our own and in no transaction: it
 * waits for those who read what it copies over, and one that is to empty the log for all who read
 * any of it. The pin is moved out of its way, unless others have just written.
 */
void settle_before_checkpoint(struct follower *f);
void settle_after_checkpoint(struct follower *f);

#endif
