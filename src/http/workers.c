#include "http/workers.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"
#include "http/silence.h"

#include <sys/socket.h>
#include <time.h>

#define TICK_MS 500
#define HURRIED_TICK_MS 100 /* when all workers are taken */
#define PATIENCE_MS 1000    /* a silent client keeps its worker this long while others queue */

static void shut(struct worker *x, int how)
{
    int fd = x->peer.port > 0 ? peer_find(&x->peer) : -1;

    if (fd >= 0)
        shutdown(fd, how);
    x->deadline_ms = 0;
}

/* The worker's lock is held throughout, so the descriptor cannot be closed and reused meanwhile. */
static void look_after(struct worker *x, int64_t now, int64_t waiting_since)
{
    pthread_mutex_lock(&x->lock);
    if (x->deadline_ms && now >= x->deadline_ms)
        shut(x, x->how);
    else if (x->state == WORKER_WAITING && x->since_ms <= waiting_since)
        shut(x, SHUT_RDWR);
    pthread_mutex_unlock(&x->lock);
}

static void deadline_in(struct timespec *t, int64_t ms)
{
    clock_gettime(CLOCK_MONOTONIC, t);
    t->tv_sec += ms / 1000;
    t->tv_nsec += ms % 1000 * 1000000;
    t->tv_sec += t->tv_nsec / 1000000000;
    t->tv_nsec %= 1000000000;
}

/* Sleeps while there is nothing to look after. Under the lock. */
static void wait_for_tick(struct workers *w)
{
    struct timespec until;

    w->asleep = w->taken == 0;
    while (w->asleep && !w->stopping)
        pthread_cond_wait(&w->wake, &w->lock);
    deadline_in(&until, w->hurried ? HURRIED_TICK_MS : TICK_MS);
    if (!w->stopping)
        pthread_cond_timedwait(&w->wake, &w->lock, &until);
    w->hurried = w->taken >= w->count;
}

static void *run(void *arg)
{
    struct workers *w = arg;

    pthread_mutex_lock(&w->lock);
    while (!w->stopping) {
        bool full;
        int given, ports;
        int64_t now;

        wait_for_tick(w);
        full = w->hurried;
        given = w->given;
        ports = w->port_count;
        pthread_mutex_unlock(&w->lock);
        now = clock_mono_ms();
        for (int i = 0; i < given; i++)
            look_after(&w->all[i], now, full ? now - PATIENCE_MS : INT64_MIN);
        for (int i = 0; full && i < ports; i++)
            silence_end(w->silence, w, w->ports[i], PATIENCE_MS);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

void workers_ports(struct workers *w, const int *ports, int count)
{
    pthread_mutex_lock(&w->lock);
    w->ports = ports;
    w->port_count = count;
    pthread_mutex_unlock(&w->lock);
}

int workers_init(struct workers *w, int count)
{
    pthread_condattr_t attr;

    *w = (struct workers){.count = count};
    w->all = mem_array((size_t)count, sizeof(*w->all));
    w->silence = mem_zalloc(sizeof(*w->silence));
    if (!w->all || !w->silence) {
        mem_free(w->all);
        mem_free(w->silence);
        w->all = NULL;
        return STATUS_NOMEM;
    }
    for (int i = 0; i < count; i++) {
        pthread_mutex_init(&w->all[i].lock, NULL);
        loan_init(&w->all[i].loan);
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_cond_init(&w->idle, &attr);
    pthread_condattr_destroy(&attr);
    w->started = thread_start(&w->thread, NULL, run, w, "http-watch") == 0;
    return w->started ? 0 : STATUS_IO;
}

void workers_fini(struct workers *w)
{
    if (!w->all)
        return;
    if (w->started) {
        pthread_mutex_lock(&w->lock);
        w->stopping = true;
        pthread_cond_signal(&w->wake);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
    }
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->idle);
    pthread_mutex_destroy(&w->lock);
    for (int i = 0; i < w->count; i++) {
        pthread_mutex_destroy(&w->all[i].lock);
        loan_fini(&w->all[i].loan);
        stack_free(w->all[i].stack);
    }
    mem_free(w->all);
    mem_free(w->silence);
    w->all = NULL;
}

struct worker *workers_give(struct workers *w)
{
    struct worker *x = NULL;

    pthread_mutex_lock(&w->lock);
    if (w->given < w->count)
        x = &w->all[w->given++];
    pthread_mutex_unlock(&w->lock);
    return x;
}

void workers_set(struct workers *w, struct worker *x, enum worker_state state, const struct peer *p)
{
    enum worker_state before;

    pthread_mutex_lock(&x->lock);
    before = x->state;
    x->state = state;
    x->since_ms = clock_mono_ms();
    x->deadline_ms = 0;
    if (p)
        x->peer = *p;
    pthread_mutex_unlock(&x->lock);

    pthread_mutex_lock(&w->lock);
    w->taken += (state != WORKER_FREE) - (before != WORKER_FREE);
    w->busy += (state == WORKER_BUSY) - (before == WORKER_BUSY);
    if (w->taken && (w->asleep || (w->taken == w->count && !w->hurried))) {
        w->asleep = false;
        pthread_cond_signal(&w->wake);
    }
    if (w->busy == 0)
        pthread_cond_broadcast(&w->idle);
    pthread_mutex_unlock(&w->lock);
}

void workers_deadline(struct worker *x, int64_t ms, int how)
{
    pthread_mutex_lock(&x->lock);
    x->how = how;
    x->deadline_ms = ms ? clock_mono_ms() + ms : 0;
    pthread_mutex_unlock(&x->lock);
}

bool workers_scarce(struct workers *w)
{
    bool scarce;

    pthread_mutex_lock(&w->lock);
    scarce = w->taken > w->count - w->count / 4;
    pthread_mutex_unlock(&w->lock);
    return scarce;
}

bool workers_drain(struct workers *w, int64_t ms)
{
    struct timespec until;
    bool done;

    deadline_in(&until, ms);
    pthread_mutex_lock(&w->lock);
    while (w->busy > 0 && pthread_cond_timedwait(&w->idle, &w->lock, &until) == 0)
        ;
    done = w->busy == 0;
    pthread_mutex_unlock(&w->lock);
    return done;
}

void workers_drop_waiting(struct workers *w)
{
    for (int i = 0; i < w->count; i++)
        look_after(&w->all[i], 0, INT64_MAX);
}
