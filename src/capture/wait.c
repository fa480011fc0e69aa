#include "capture/wait.h"

#include <semaphore.h>

/*
 * Somebody waits for a request on the database thread. A semaphore, because its last access by the
 * one that posts is what lets the other go on: with a lock and a condition the woken thread often
 * finds the lock still held.
 */
static void wake_waiter(struct sql_request *r)
{
    sem_post(r->ctx);
}

void wait_post(struct database *db, struct sql_request *r)
{
    void (*done)(struct sql_request *) = r->done;
    void *ctx = r->ctx;
    sem_t ended;
    sem_init(&ended, 0, 0);
    r->done = wake_waiter;
    r->ctx = &ended;
    database_post(db, r);
    while (sem_wait(&ended) != 0)
        ;
    sem_destroy(&ended);
    r->done = done;
    r->ctx = ctx;
}
