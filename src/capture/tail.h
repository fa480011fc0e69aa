#ifndef ROWTAP_CAPTURE_TAIL_H
#define ROWTAP_CAPTURE_TAIL_H

#include "base/buf.h"
#include "change/batch.h"
#include <stdatomic.h>
#include <stdbool.h>

/*
 * The commits of a file that others write, decoded from its write-ahead log without a server. One
 * thread: the caller's.
 */
struct tail;

struct tail_options {
    const char *path;
    bool checkpoint; /* copy the log into the database when it has grown large, as any connection
                        would */
    /*
     * A commit's changes, sealed, numbered from 1 since the start; batches may continue one
     * another. b->gap: commits before it could not be decoded. The receiver takes its own
     * references.
     */
    void (*publish)(void *ctx, struct batch *b);
    void *ctx;
};

/* Opens read-only. NULL and a sentence in err. */
struct tail *tail_open(const struct tail_options *options, struct buf *err);
const struct schema *tail_schema(const struct tail *t); /* as of what was published last */
const char *tail_journal_mode(const struct tail *t);
/* Waits for commits and publishes them, until *stop or a failure (a sentence in err). */
int tail_run(struct tail *t, const atomic_bool *stop, struct buf *err);
void tail_close(struct tail *t);

#endif
