#ifndef ROWTAP_CLI_ENDING_H
#define ROWTAP_CLI_ENDING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/*
 * When a verb that writes until it is stopped should stop: after ^C or SIGTERM (interrupt.h), when
 * nobody reads standard output any more, which a write would show only with the next line, or when
 * `look`, which is called about once a second on a thread of its own, says so.
 */
struct ending {
    atomic_bool stop; /* any thread may read it, or set it */
    pthread_t thread;
    int done; /* an event: the thread shall end */
    bool (*look)(void *ctx);
    void *ctx;
};

/* Catches the signals and starts a thread that waits. STATUS_IO or STATUS_NOMEM. */
int ending_start(struct ending *e, bool (*look)(void *ctx), void *ctx);
void ending_stop(struct ending *e); /* after ending_start has succeeded */

#endif
