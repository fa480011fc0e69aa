#ifndef ROWTAP_CAPTURE_PLACES_H
#define ROWTAP_CAPTURE_PLACES_H

#include "capture/wal/log.h"
#include <pthread.h>

/*
 * Which seq the database's state after some frame of its log is, for the last few commits that were
 * published: so a reader that knows where its transaction stands knows what it sees. Any thread.
 */
#define PLACES 256

struct places {
    pthread_mutex_t lock;
    struct place {
        uint8_t salt[WAL_SALT];
        uint32_t frame;
        uint64_t seq;
    } ring[PLACES];
    uint64_t count; /* ever noted */
};

void places_init(struct places *p);
void places_fini(struct places *p);
/* At the place of the last note the later seq holds. */
void places_note(struct places *p, const uint8_t *salt, uint32_t frame, uint64_t seq);
bool places_find(struct places *p, const uint8_t *salt, uint32_t frame, uint64_t *seq);

#endif
