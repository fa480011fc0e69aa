#include "hub/gate.h"

void gate_init(struct gate *g)
{
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->cond, NULL);
    atomic_init(&g->waiting, false);
    atomic_init(&g->open, false);
}

void gate_fini(struct gate *g)
{
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->cond);
}

/*
 * `waiting` is set before the condition is looked at once more, and the signaller looks at it after
 * changing the condition: whichever comes second sees the other.
 */
void gate_wait(struct gate *g, bool (*ready)(void *ctx), void *ctx)
{
    if (ready(ctx) || atomic_load(&g->open))
        return;
    pthread_mutex_lock(&g->lock);
    atomic_store(&g->waiting, true);
    while (!ready(ctx) && !atomic_load(&g->open))
        pthread_cond_wait(&g->cond, &g->lock);
    atomic_store(&g->waiting, false);
    pthread_mutex_unlock(&g->lock);
}

void gate_signal(struct gate *g)
{
    if (!atomic_load(&g->waiting))
        return;
    pthread_mutex_lock(&g->lock);
    pthread_cond_signal(&g->cond);
    pthread_mutex_unlock(&g->lock);
}

void gate_open(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    atomic_store(&g->open, true);
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->lock);
}
