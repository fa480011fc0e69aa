#include "capture/places.h"

#include <string.h>

void places_init(struct places *p)
{
    *p = (struct places){.count = 0};
    pthread_mutex_init(&p->lock, NULL);
}

void places_fini(struct places *p)
{
    pthread_mutex_destroy(&p->lock);
}

static bool is_at(const struct place *p, const uint8_t *salt, uint32_t frame)
{
    return p->frame == frame && memcmp(p->salt, salt, WAL_SALT) == 0;
}

void places_note(struct places *p, const uint8_t *salt, uint32_t frame, uint64_t seq)
{
    pthread_mutex_lock(&p->lock);
    struct place *last = &p->ring[(p->count - 1) % PLACES];
    if (p->count > 0 && is_at(last, salt, frame))
        last->seq = seq;
    if (p->count == 0 || !is_at(last, salt, frame)) {
        struct place *place = &p->ring[p->count++ % PLACES];
        *place = (struct place){.frame = frame, .seq = seq};
        memcpy(place->salt, salt, WAL_SALT);
    }
    pthread_mutex_unlock(&p->lock);
}

bool places_find(struct places *p, const uint8_t *salt, uint32_t frame, uint64_t *seq)
{
    bool found = false;
    pthread_mutex_lock(&p->lock);
    for (uint64_t i = p->count; !found && i > 0 && p->count - i < PLACES; i--) {
        const struct place *place = &p->ring[(i - 1) % PLACES];
        found = is_at(place, salt, frame);
        if (found)
            *seq = place->seq;
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}
