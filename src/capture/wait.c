#include "capture/wait.h"

#include <pthread.h>

/* Somebody who waits for a request on the database thread. */
struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
};

static void wake_waiter(struct sql_request *r)
{
    struct waiter *w = r->ctx;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void wait_post(struct database *db, struct sql_request *r)
{
    struct waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    void (*done)(struct sql_request *) = r->done;
    void *ctx = r->ctx;
    r->done = wake_waiter;
    r->ctx = &w;
    database_post(db, r);
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.wake, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_cond_destroy(&w.wake);
    pthread_mutex_destroy(&w.lock);
    r->done = done;
    r->ctx = ctx;
}
