#ifndef ROWTAP_CAPTURE_CURSOR_RUN_H
#define ROWTAP_CAPTURE_CURSOR_RUN_H

#include "capture/runner.h"

/* What the runner does with cursors. */

void cursor_init(struct cursor *c, struct runner *r);
void cursor_post(struct cursor *c); /* to the database thread */
/* The next one that may have a thread, or NULL. The lock is held. */
struct cursor *cursor_next(struct runner *r);
void cursor_run(struct runner_worker *x, struct cursor *c); /* until it ends, rests or yields */
/*
 * Tells progress, and moves those to `ended` that must not go on, for cursor_end_all, which needs
 * the lock not to be held. The lock is held.
 */
void cursor_look(struct runner *r, struct list *ended);
void cursor_end_all(struct list *ended);
void cursor_refuse(struct cursor *c, const char *code, const char *message); /* it has not begun */

/* What cursors need of the runner. */

void runner_set_open_error(struct sql_error *e, int rc);
/* What runs now, to be interrupted when it is cancelled; NULLs: nothing. */
void runner_set_running(struct runner_worker *x, struct sql_request *q, struct sqlconn *c);
void runner_ended(struct runner *r); /* one less is under way */
void runner_wake_watch(struct runner *r);

#endif
