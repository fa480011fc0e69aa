#include "base/log_limit.h"

#include <pthread.h>
#include <stddef.h>

#define EVENTS 128 /* known at once: more than there are in the program */
#define SECOND_MS 1000

static struct window {
    const char *event; /* NULL: free */
    int64_t since_ms;
    uint64_t count, suppressed;
    int level;
} windows[EVENTS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* NULL: there is no room, so it goes unlimited. */
static struct window *find(const char *event)
{
    size_t at = ((uintptr_t)event >> 3) % EVENTS;

    for (size_t i = 0; i < EVENTS; i++) {
        struct window *w = &windows[(at + i) % EVENTS];

        if (!w->event)
            w->event = event;
        if (w->event == event)
            return w;
    }
    return NULL;
}

static bool pass(struct window *w, uint64_t most, int64_t now_ms, uint64_t *suppressed)
{
    if (w->count == 0 || now_ms - w->since_ms >= SECOND_MS) {
        if (w->suppressed)
            *suppressed = w->suppressed;
        w->since_ms = now_ms;
        w->count = w->suppressed = 0;
    }
    if (w->count < most) {
        w->count++;
        return true;
    }
    w->suppressed++;
    return false;
}

bool log_limit_pass(const char *event, bool many, int level, int64_t now_ms, uint64_t *suppressed)
{
    struct window *w;
    bool passed = true;

    pthread_mutex_lock(&lock);
    w = find(event);
    if (w) {
        w->level = level;
        passed = pass(w, many ? LOG_LIMIT_MANY : LOG_LIMIT, now_ms, suppressed);
    }
    pthread_mutex_unlock(&lock);
    return passed;
}

const char *log_limit_over(int64_t now_ms, int *level, uint64_t *suppressed)
{
    const char *event = NULL;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < EVENTS && !event; i++) {
        struct window *w = &windows[i];

        if (!w->suppressed || now_ms - w->since_ms < SECOND_MS)
            continue;
        event = w->event;
        *level = w->level;
        *suppressed = w->suppressed;
        w->suppressed = 0;
    }
    pthread_mutex_unlock(&lock);
    return event;
}
