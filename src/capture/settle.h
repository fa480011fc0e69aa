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

#endif
