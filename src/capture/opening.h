#ifndef ROWTAP_CAPTURE_OPENING_H
#define ROWTAP_CAPTURE_OPENING_H

#include "capture/writer.h"

/*
 * Opens the write connection, with a sentence for the user in err where that fails. *journal_mode
 * is what the file has afterwards (at most 15 bytes and a NUL). `epoch` is for a journal that
 * begins. 0, STATUS_IO or STATUS_NOMEM.
 */
int opening_run(struct writer *w, const struct database_options *options,
    struct published *published, const char *path, const atomic_bool *closing, char *journal_mode,
    const char *epoch, struct buf *err);

#endif
