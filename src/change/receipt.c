#include "change/receipt.h"

#include "base/map.h"
#include "base/mem.h"
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

/*
 * A connection may be expected several times, for several transactions. What is known of it is the
 * value in the map: how often it is still expected, doubled; the lowest bit says that something of
 * it was lost; and one more, since a map holds no NULL.
 */
struct receipt {
    atomic_uint refs;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    uint32_t loops;       /* that have begun and not ended */
    uint64_t outstanding; /* expected and not settled */
    bool closed;          /* nobody asks for the connections any more */
    struct map connections;
};

struct receipt *receipt_new(void)
{
    struct receipt *r = mem_zalloc(sizeof(*r));
    pthread_condattr_t attributes;
    if (!r)
        return NULL;
    atomic_init(&r->refs, 1);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    return r;
}

struct receipt *receipt_ref(struct receipt *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void receipt_unref(struct receipt *r)
{
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    map_fini(&r->connections);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

static void unlock(struct receipt *r)
{
    if (r->loops == 0 && r->outstanding == 0)
        pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

void receipt_close(struct receipt *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->closed = true;
    map_fini(&r->connections);
    r->connections = (struct map){0};
    pthread_mutex_unlock(&r->lock);
    receipt_unref(r);
}

void receipt_begin(struct receipt *r)
{
    pthread_mutex_lock(&r->lock);
    r->loops++;
    pthread_mutex_unlock(&r->lock);
}

void receipt_end(struct receipt *r)
{
    pthread_mutex_lock(&r->lock);
    assert(r->loops > 0);
    r->loops--;
    unlock(r);
}

static uintptr_t known(const struct receipt *r, uint64_t connection)
{
    uintptr_t v = (uintptr_t)map_get(&r->connections, &connection, sizeof(connection));
    return v ? v - 1 : 0;
}

/* Without memory for it the connection counts as one that did not get everything. */
static void set_known(struct receipt *r, uint64_t connection, uintptr_t v)
{
    if (!r->closed)
        map_set(&r->connections, &connection, sizeof(connection), (void *)(v + 1));
}

void receipt_expect(struct receipt *r, uint64_t connection)
{
    pthread_mutex_lock(&r->lock);
    r->outstanding++;
    set_known(r, connection, known(r, connection) + 2);
    pthread_mutex_unlock(&r->lock);
}

void receipt_settle(struct receipt *r, uint64_t connection, bool sent)
{
    pthread_mutex_lock(&r->lock);
    uintptr_t v = known(r, connection);
    r->outstanding--;
    if (v >= 2)
        set_known(r, connection, (v - 2) | !sent);
    unlock(r);
}

static void count(const struct receipt *r, uint64_t *delivered, uint64_t *pending)
{
    size_t pos = 0, len;
    const char *key;
    void *value;
    *delivered = *pending = 0;
    while (map_next(&r->connections, &pos, &key, &len, &value)) {
        uintptr_t v = (uintptr_t)value - 1;
        *pending += v >= 2;
        *delivered += v == 0;
    }
}

bool receipt_wait(struct receipt *r, int64_t ms, uint64_t *delivered, uint64_t *pending)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += ms / 1000;
    end.tv_nsec += ms % 1000 * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&r->lock);
    int rc = 0;
    while ((r->loops > 0 || r->outstanding > 0) && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&r->wake, &r->lock, &end);
    bool done = r->loops == 0 && r->outstanding == 0;
    count(r, delivered, pending);
    pthread_mutex_unlock(&r->lock);
    return done;
}
