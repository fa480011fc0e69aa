#ifndef ROWTAP_CLI_ENDING_H
#define ROWTAP_CLI_ENDING_H

#include <pthread.h>
#include <stdatomic.h>

/*
 * When a verb that writes until it is stopped should stop: after ^C or SIGTERM (interrupt.h), or
 * when nobody reads standard output any more, which a write would show only with the next line.
 */
struct ending {
    atomic_bool stop; /* any thread may read it, or set it */
    pthread_t thread;
    int done; /* an event: the thread shall end */
};

/* Catches the signals and starts a thread that waits. STATUS_IO or STATUS_NOMEM. */
int ending_start(struct ending *e);
void ending_stop(struct ending *e); /* after ending_start has succeeded */

#endif
