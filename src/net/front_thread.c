#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/thread.h"
#include "net/front_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS 128   /* taken from epoll at once */
#define ACCEPTS 16   /* in one turn */
#define AGAIN_MS 100 /* before the next try, when descriptors have run out */

bool front_watch(struct front_thread *w, struct source *s, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};
    int what = !s->events ? EPOLL_CTL_ADD : !events ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

    if (events == s->events)
        return true;
    if (epoll_ctl(w->epoll, what, s->fd, &e) < 0)
        return false;
    s->events = events;
    return true;
}

int front_lift(const struct front *f, int fd)
{
    int lifted;

    if (fd < 0 || fd >= f->options.low_fd)
        return fd;
    lifted = fcntl(fd, F_DUPFD_CLOEXEC, f->options.low_fd);
    if (lifted < 0)
        return fd;
    close(fd);
    return lifted;
}

/* Listening. */

static struct relay *oldest(const struct list *l)
{
    return list_empty(l) ? NULL : list_entry(l->next, struct relay, timer);
}

static void drop(struct front_thread *w, struct relay *r)
{
    atomic_fetch_add_explicit(&w->front->dropped, 1, memory_order_relaxed);
    relay_kill(r);
}

static void stop_listening(struct front_thread *w, int64_t again)
{
    for (int i = 0; i < w->front->options.count; i++)
        front_watch(w, &w->listeners[i], 0);
    w->accept_again = again;
}

static void start_listening(struct front_thread *w)
{
    for (int i = 0; i < w->front->options.count; i++)
        front_watch(w, &w->listeners[i], EPOLLIN | EPOLLEXCLUSIVE);
    w->accept_again = 0;
}

/* False: there is nothing more to take. */
static bool take_one(struct front_thread *w, int listener)
{
    struct front *f = w->front;
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            stop_listening(w, w->now + AGAIN_MS);
        else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED &&
                 atomic_load(&f->refusing))
            stop_listening(w, 0);
        return false;
    }
    if (atomic_load_explicit(&f->connections, memory_order_relaxed) >= FRONT_MAX) {
        atomic_fetch_add_explicit(&f->dropped, 1, memory_order_relaxed);
        close(fd);
        return true;
    }
    if (w->waiting_count >= FRONT_WAITING / (unsigned)f->thread_count)
        drop(w, oldest(&w->waiting));
    relay_start(w, front_lift(f, fd), &from);
    return true;
}

static void listener_ready(struct front_thread *w, struct source *s, uint32_t events)
{
    (void)events;
    for (int i = 0; i < ACCEPTS && take_one(w, s->fd); i++)
        ;
}

/* The threads. */

static int timeout(const struct front_thread *w)
{
    const struct list *lists[] = {&w->waiting, &w->stalled, &w->ending};
    int64_t due = w->now + 60000;

    for (int i = 0; i < 3; i++) {
        const struct relay *r = oldest(lists[i]);

        if (r && r->due < due)
            due = r->due;
    }
    if (w->accept_again && w->accept_again < due)
        due = w->accept_again;
    if (w->stopping && w->stop_due < due)
        due = w->stop_due;
    due -= clock_mono_ms();
    return due > 0 ? (int)due : 0;
}

static void run_timers(struct front_thread *w)
{
    struct relay *r;

    while ((r = oldest(&w->waiting)) && r->due <= w->now) {
        atomic_fetch_add_explicit(&w->front->late, 1, memory_order_relaxed);
        relay_kill(r);
    }
    while ((r = oldest(&w->stalled)) && r->due <= w->now)
        relay_kill(r);
    while ((r = oldest(&w->ending)) && r->due <= w->now)
        relay_kill(r);
    if (w->accept_again && w->accept_again <= w->now)
        start_listening(w);
}

static void run_mailbox(struct front_thread *w)
{
    struct message *m = mailbox_take(&w->mailbox), *next;

    for (; m; m = next) {
        next = m->next;
        m->run(m, w);
    }
}

static void kill_all(struct list *l)
{
    struct relay *r;

    while ((r = oldest(l)))
        relay_kill(r);
}

static void turn(struct front_thread *w)
{
    struct epoll_event events[EVENTS];
    struct relay *r;
    int n = epoll_wait(w->epoll, events, EVENTS, mailbox_sleep(&w->mailbox) ? timeout(w) : 0);

    mailbox_awake(&w->mailbox);
    w->now = clock_mono_ms();
    run_mailbox(w);
    for (int i = 0; i < n; i++) {
        struct source *s = events[i].data.ptr;

        if (s)
            s->ready(w, s, events[i].events);
    }
    run_timers(w);
    while ((r = oldest(&w->dead)))
        relay_free(r);
}

static bool is_over(const struct front_thread *w)
{
    return w->stopping &&
           (w->now >= w->stop_due ||
               (list_empty(&w->open) && list_empty(&w->stalled) && list_empty(&w->ending)));
}

static void *run(void *arg)
{
    struct front_thread *w = arg;
    struct relay *r;

    while (!is_over(w))
        turn(w);
    kill_all(&w->waiting);
    kill_all(&w->open);
    kill_all(&w->stalled);
    kill_all(&w->ending);
    while ((r = oldest(&w->dead)))
        relay_free(r);
    return NULL;
}

static void run_stop(struct message *m, void *receiver)
{
    struct front_thread *w = receiver;

    (void)m;
    w->stopping = true;
    w->stop_due = w->now + w->front->grace_ms;
    stop_listening(w, 0);
    kill_all(&w->waiting);
}

static int open_thread(struct front_thread *w)
{
    /* By its edge: then what makes it readable need not be read. */
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};

    list_init(&w->waiting);
    list_init(&w->open);
    list_init(&w->stalled);
    list_init(&w->ending);
    list_init(&w->dead);
    w->now = clock_mono_ms();
    w->stop.run = run_stop;
    w->room = tls_room_new();
    w->scratch = mem_alloc(FRONT_SCRATCH);
    w->listeners = mem_array((size_t)w->front->options.count, sizeof(*w->listeners));
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!w->room || !w->scratch || !w->listeners || w->epoll < 0)
        return STATUS_NOMEM;
    for (int i = 0; i < w->front->options.count; i++)
        w->listeners[i] = (struct source){listener_ready, w->front->listeners[i], 0};
    if (mailbox_init(&w->mailbox) < 0)
        return STATUS_IO;
    w->has_mailbox = true;
    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->mailbox.fd, &e) < 0 ? STATUS_IO : 0;
}

int front_thread_start(struct front_thread *w)
{
    int rc = open_thread(w);

    if (rc < 0)
        return rc;
    start_listening(w);
    w->running = thread_start(&w->thread, NULL, run, w, "tls-%d", w->number) == 0;
    return w->running ? 0 : STATUS_IO;
}

void front_thread_close(struct front_thread *w)
{
    if (w->has_mailbox)
        mailbox_fini(&w->mailbox);
    if (w->epoll >= 0)
        close(w->epoll);
    tls_room_free(w->room);
    mem_free(w->scratch);
    mem_free(w->listeners);
}
