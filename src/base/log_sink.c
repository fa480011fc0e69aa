#include "base/log_sink.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 1000
#define LAST_MS 500

/* Two buffers: one is filled while the thread writes the other. */
static struct sink {
    int users;
    bool stopping, done;
    char *filling, *writing;
    size_t len; /* in `filling` */
    uint64_t dropped;
    void (*tick)(uint64_t dropped);
    pthread_t thread;
} sink;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;

static struct timespec deadline(int64_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

static void write_all(const char *p, size_t len)
{
    while (len) {
        ssize_t n = write(STDERR_FILENO, p, len);

        if (n < 0 && errno == EAGAIN) { /* whoever shares it made it so */
            struct pollfd full = {.fd = STDERR_FILENO, .events = POLLOUT};

            poll(&full, 1, TICK_MS);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        p += n;
        len -= (size_t)n;
    }
}

/* Only here may the thread be cancelled: it holds nothing. */
static void write_cancellable(const char *p, size_t len)
{
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    write_all(p, len);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
}

/* With the lock held, which is let go meanwhile. */
static void drain(void)
{
    while (sink.len) {
        char *full = sink.filling;
        size_t len = sink.len;

        sink.filling = sink.writing;
        sink.writing = full;
        sink.len = 0;
        pthread_mutex_unlock(&lock);
        write_cancellable(full, len);
        pthread_mutex_lock(&lock);
    }
}

static void tick(void)
{
    uint64_t dropped = sink.dropped;

    sink.dropped = 0;
    pthread_mutex_unlock(&lock);
    sink.tick(dropped);
    pthread_mutex_lock(&lock);
}

static void *run(void *arg)
{
    int64_t next = clock_mono_ms() + TICK_MS;

    (void)arg;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_mutex_lock(&lock);
    while (!sink.stopping) {
        struct timespec until = deadline(TICK_MS);

        if (!sink.len)
            pthread_cond_timedwait(&filled, &lock, &until);
        drain();
        if (clock_mono_ms() < next)
            continue;
        next = clock_mono_ms() + TICK_MS;
        tick();
    }
    tick();
    drain();
    sink.done = true;
    pthread_cond_signal(&ended);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static int start_thread(void)
{
    return thread_start(&sink.thread, NULL, run, NULL, "log") ? STATUS_IO : 0;
}

static int start(void (*on_tick)(uint64_t dropped))
{
    char *buffers = mem_alloc(2 * (size_t)LOG_SINK_MAX);
    int rc;

    if (!buffers)
        return STATUS_NOMEM;
    pthread_mutex_lock(&lock);
    sink = (struct sink){
        .users = 1, .filling = buffers, .writing = buffers + LOG_SINK_MAX, .tick = on_tick};
    rc = start_thread();
    if (rc < 0)
        sink = (struct sink){0};
    pthread_mutex_unlock(&lock);
    if (rc < 0)
        mem_free(buffers);
    return rc;
}

int log_sink_start(void (*on_tick)(uint64_t dropped))
{
    int rc = 0;

    pthread_mutex_lock(&starting);
    if (sink.users)
        sink.users++;
    else
        rc = start(on_tick);
    pthread_mutex_unlock(&starting);
    return rc;
}

static void stop(void)
{
    struct timespec until = deadline(LAST_MS);
    char *buffers;
    int rc = 0;

    pthread_mutex_lock(&lock);
    sink.stopping = true;
    pthread_cond_signal(&filled);
    while (!sink.done && rc == 0)
        rc = pthread_cond_timedwait(&ended, &lock, &until);
    if (!sink.done)
        pthread_cancel(sink.thread);
    pthread_mutex_unlock(&lock);
    pthread_join(sink.thread, NULL);
    pthread_mutex_lock(&lock);
    buffers = sink.filling < sink.writing ? sink.filling : sink.writing;
    sink = (struct sink){0};
    pthread_mutex_unlock(&lock);
    mem_free(buffers);
}

void log_sink_stop(void)
{
    pthread_mutex_lock(&starting);
    if (--sink.users == 0)
        stop();
    pthread_mutex_unlock(&starting);
}

void log_sink_write(const char *line, size_t len)
{
    pthread_mutex_lock(&lock);
    if (!sink.filling) {
        write_all(line, len);
    } else if (len > LOG_SINK_MAX - sink.len) {
        sink.dropped++;
    } else {
        memcpy(sink.filling + sink.len, line, len);
        sink.len += len;
        pthread_cond_signal(&filled);
    }
    pthread_mutex_unlock(&lock);
}
