#ifndef ROWTAP_CAPTURE_PAGER_H
#define ROWTAP_CAPTURE_PAGER_H

#include "capture/scan.h"
#include "capture/writer.h"

/*
 * The thread that reads for those who may not block: see scan.h. It does one step at a time, each a
 * few milliseconds long, in the order in which they were posted.
 */
struct pager;

/*
 * Starts it. The options, `published` and `closing` outlive it; `run` is the journal's. NULL:
 * memory, threads or descriptors ran out.
 */
struct pager *pager_new(const struct database_options *options, struct published *published,
    const char *path, const atomic_bool *closing, uint64_t run);
/*
 * Hands back all that waits with STATUS_CLOSED, ends the thread, and closes the connections of
 * scans still open, whose owners may be gone. Nothing may be posted any more. NULL is allowed.
 */
void pager_free(struct pager *p);

void pager_scan(struct pager *p, struct scan *s);      /* any thread */
void pager_read_past(struct pager *p, struct past *r); /* any thread */

#endif
