#ifndef ROWTAP_HUB_GATE_H
#define ROWTAP_HUB_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/*
 * Where one thread waits until others have made a condition true. The others pay one atomic load
 * while nobody waits.
 */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    atomic_bool waiting;
    atomic_bool open;
};

void gate_init(struct gate *g);
void gate_fini(struct gate *g);
/* Returns when ready(ctx), or for ever after gate_open. One thread at a time. */
void gate_wait(struct gate *g, bool (*ready)(void *ctx), void *ctx);
void gate_signal(struct gate *g); /* any thread, after a change of the condition (an atomic) */
void gate_open(struct gate *g);   /* any thread: nobody waits any more */

#endif
