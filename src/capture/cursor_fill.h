#ifndef ROWTAP_CAPTURE_CURSOR_FILL_H
#define ROWTAP_CAPTURE_CURSOR_FILL_H

#include "capture/cursor.h"
#include "capture/executor.h"

/* The pages of a cursor (cursor.h), made on a thread of the runner's. */

enum cursor_step {
    CURSOR_PAGE,   /* a page is ready */
    CURSOR_FAILED, /* there is an error */
    CURSOR_WRITE,  /* nothing was run: it belongs to the database thread */
};

/*
 * The next page. With a connection that has no statement yet, the first step: it may run all of the
 * text (then c->cutting). limit_ms is for the whole of the read transaction, 0 is none.
 */
enum cursor_step cursor_fill(struct cursor *c, struct cursor_page *p, struct published *published,
    const struct database_options *options, int64_t limit_ms);
/* Its result lies in request.json, to be cut; it has so much time from now on, 0: any. */
void cursor_cut(struct cursor *c, int64_t timeout_ms);
/* Ends the read transaction, so that the connection can be used for something else. */
void cursor_close(struct cursor *c);

#endif
