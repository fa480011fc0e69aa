#ifndef ROWTAP_CAPTURE_OFFLINE_H
#define ROWTAP_CAPTURE_OFFLINE_H

#include "capture/journal.h"
#include "capture/tracker.h"

/*
 * What other processes committed while no server ran: whether the log still holds all that is
 * needed to decode it. A checkpoint in that time may have put new pages over the old ones in the
 * file, and SQLite forgets how far it came when the last process ends; so the pages themselves are
 * looked at.
 */

struct offline {
    uint64_t skip; /* so many of the changes to come are in the journal already */
    bool vacuumed; /* before them: rowids may be others */
};

/*
 * From what the journal says, and before anything is written. The tracker stands at the end of the
 * log; where something is to be decoded it is put back to where that begins. 0; STATUS_CONFLICT:
 * changes are missing; STATUS_NOMEM, STATUS_IO.
 */
int offline_find(
    struct tracker *t, const struct journal_place *place, const char *path, struct offline *found);

/* After an orderly end, when the log is gone with the last connection: marks the file with a time.
 */
void offline_seal(const char *path, int64_t time_ms);

#endif
