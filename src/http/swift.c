#include "http/swift.h"

#include "base/clock.h"
#include "base/cores.h"
#include "base/mem.h"
#include "base/thread.h"
#include "capture/database.h"
#include "http/loan.h"
#include "http/serve.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SWIFT_AFTER 8 /* requests in a row that were */
#define EVENTS_MAX 32
#define TURN_NS 200000 /* after which no answer waits for the next */

struct swift_thread {
    struct database *db;
    struct database_turn *reads;
    pthread_t thread;
    int epoll, stop; /* -1: not opened */
    bool running;
    atomic_int lent; /* connections */
};

struct swift {
    int count;
    struct swift_thread threads[];
};

void loan_init(struct loan *l)
{
    pthread_condattr_t attr;

    *l = (struct loan){0};
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->over, &attr);
    pthread_condattr_destroy(&attr);
}

void loan_fini(struct loan *l)
{
    pthread_cond_destroy(&l->over);
    pthread_mutex_destroy(&l->lock);
}

/* With the lock. */
static void give_back(struct loan *l)
{
    epoll_ctl(l->to->epoll, EPOLL_CTL_DEL, l->again->r->fd, NULL);
    atomic_fetch_sub(&l->to->lent, 1);
    l->again = NULL;
    pthread_cond_signal(&l->over);
}

/* What was served together: the answers wake their readers together, too. */
struct turn {
    struct database *db;
    struct database_turn *reads;
    struct loan *answered[EVENTS_MAX]; /* locked */
    int count;
    int64_t began_ns; /* the first of them */
};

static void end_turn(struct turn *t)
{
    database_turn_end(t->db, t->reads);
    for (int i = 0; i < t->count; i++) {
        struct loan *l = t->answered[i];

        if (!serve_send(l->again))
            give_back(l);
        pthread_mutex_unlock(&l->lock);
    }
    t->count = 0;
}

/*
 * The event may be of an earlier loan: what it told of is not there then. And it comes again, so
 * nobody waits for a lock while he has others.
 */
static void tend(struct turn *t, struct loan *l)
{
    enum serve_end end;

    if (pthread_mutex_trylock(&l->lock) != 0)
        return;
    end = l->again ? serve_swiftly(l->again, t->reads) : SERVE_NOTHING;
    if (end == SERVE_ANSWERED) {
        if (t->count == 0)
            t->began_ns = l->again->r->began_ns;
        t->answered[t->count++] = l;
        return;
    }
    if (end == SERVE_BACK)
        give_back(l);
    pthread_mutex_unlock(&l->lock);
}

static void *run(void *arg)
{
    struct swift_thread *t = arg;
    struct epoll_event events[EVENTS_MAX];
    struct turn turn = {.db = t->db, .reads = t->reads};

    cores_ask_promptness();
    for (;;) {
        int n = epoll_wait(t->epoll, events, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr)
                return NULL;
            tend(&turn, events[i].data.ptr);
            if (turn.count && clock_mono_ns() - turn.began_ns > TURN_NS)
                end_turn(&turn);
        }
        end_turn(&turn);
    }
}

static bool start_thread(struct swift_thread *t, int number)
{
    struct epoll_event stop = {.events = EPOLLIN};

    t->reads = database_turn_new();
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!t->reads || t->epoll < 0 || t->stop < 0 ||
        epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->stop, &stop) < 0)
        return false;
    t->running = thread_start(&t->thread, NULL, run, t, "swift-%d", number) == 0;
    return t->running;
}

struct swift *swift_start(struct database *db, int threads)
{
    struct swift *s =
        threads > 0 ? mem_zalloc(sizeof(*s) + (size_t)threads * sizeof(s->threads[0])) : NULL;
    bool good = s;

    if (!s)
        return NULL;
    while (good && s->count < threads) {
        s->threads[s->count].db = db;
        good = start_thread(&s->threads[s->count], s->count);
        s->count++;
    }
    if (good)
        return s;
    swift_stop(s);
    return NULL;
}

static void stop_thread(struct swift_thread *t)
{
    if (t->running) {
        eventfd_write(t->stop, 1);
        pthread_join(t->thread, NULL);
    }
    if (t->epoll >= 0)
        close(t->epoll);
    if (t->stop >= 0)
        close(t->stop);
    database_turn_free(t->reads);
}

void swift_stop(struct swift *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->count; i++)
        stop_thread(&s->threads[i]);
    mem_free(s);
}

bool swift_wanted(struct again *a)
{
    a->swift = a->r->was_swift ? a->swift + 1 : 0;
    return a->swift >= SWIFT_AFTER && a->r->http->swift && a->r->waits && a->r->keep;
}

static struct swift_thread *least_burdened(struct swift *s)
{
    struct swift_thread *least = s->threads;

    for (int i = 1; i < s->count; i++)
        if (atomic_load(&s->threads[i].lent) < atomic_load(&least->lent))
            least = &s->threads[i];
    return least;
}

static bool idle(const struct request *r)
{
    return clock_mono_ns() - r->began_ns >= (int64_t)KEEP_ALIVE_MS * 1000000;
}

/* It may have been used in between, so this may be too early. */
static void wait_for_end(struct loan *l)
{
    int64_t until = l->again->r->began_ns + (int64_t)KEEP_ALIVE_MS * 1000000;
    struct timespec t = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};

    pthread_cond_timedwait(&l->over, &l->lock, &t);
}

/* `stopping` is looked at after the worker's state was set: see http/again.c. */
void swift_lend(struct again *a)
{
    struct request *r = a->r;
    struct loan *l = &r->worker->loan;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = l};

    a->swift = 0;
    pthread_mutex_lock(&l->lock);
    l->to = least_burdened(r->http->swift);
    if (!atomic_load(&r->http->stopping) &&
        epoll_ctl(l->to->epoll, EPOLL_CTL_ADD, r->fd, &e) == 0) {
        atomic_fetch_add(&l->to->lent, 1);
        l->again = a;
    }
    while (l->again && !idle(r))
        wait_for_end(l);
    if (l->again) {
        give_back(l);
        request_close_after(r);
    }
    pthread_mutex_unlock(&l->lock);
}
