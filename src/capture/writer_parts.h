#ifndef ROWTAP_CAPTURE_WRITER_PARTS_H
#define ROWTAP_CAPTURE_WRITER_PARTS_H

#include "capture/writer.h"

/* What the parts of the writer need of one another: its commits, and those of others. */

/*
 * Who holds the write lock may be waiting for us to move on in the log (a checkpoint that is to
 * copy all of it): then we wait so long and move on.
 */
#define WRITER_PATIENCE_MS 20
/* Begins a transaction that may write; waits so long for the lock. A result code. */
int writer_begin_within(struct writer *w, int64_t timeout_ms);

void writer_set_turn(struct writer *w, bool odd); /* odd: a commit is under way */
void writer_set_known(struct writer *w, struct schema *schema);

/* Writes what is ready and our own batch to the journal, in the open transaction. A result code. */
int writer_write_journal(struct writer *w);
/* And where that stands in the log; time_ms as in struct journal_place. */
int writer_write_place(struct writer *w, int64_t time_ms);
/* That, then COMMIT. On failure the transaction may still be open. */
int writer_commit_parts(struct writer *w);
/* Numbers a batch and hands it on, with the schema after it; takes over the reference. */
void writer_publish_batch(struct writer *w, struct batch *b, struct schema *schema);
void writer_publish_ready(struct writer *w); /* what the follower has */
/* The same, to the journal first. STATUS_IO: a lock is in the way, later; or STATUS_NOMEM. */
int writer_hand_on(struct writer *w);
/*
 * The journal's place alone. After a VACUUM, which no journal can be written with, this comes
 * before the pin is moved: no checkpoint has copied it until then.
 */
void writer_commit_place(struct writer *w);
/* Tells other threads what seq the state at the follower's place is. */
void writer_note_place(struct writer *w);

/*
 * All that others committed is in the journal, and the file is as it is to be left: then the next
 * start can tell whether somebody changed it.
 */
bool writer_leave_place(struct writer *w, int64_t time_ms);

#endif
