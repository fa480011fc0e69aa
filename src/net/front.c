#include "base/cores.h"
#include "base/mem.h"
#include "base/status.h"
#include "net/front_private.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 1024   /* of connections that the kernel has accepted */
#define THREADS_MAX 4  /* unless told otherwise */
#define TAKE_TRIES 200 /* a millisecond each */

static int listen_on(struct sockaddr_storage *a, struct buf *err)
{
    bool six = a->ss_family == AF_INET6;
    socklen_t len = six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int one = 1, fd = socket(a->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (six)
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    if (fd >= 0 && bind(fd, (struct sockaddr *)a, len) == 0 && listen(fd, BACKLOG) == 0 &&
        getsockname(fd, (struct sockaddr *)a, &len) == 0)
        return fd;
    error = errno;
    if (fd >= 0)
        close(fd);
    buf_puts(err, strerror(error));
    return -1;
}

static void free_front(struct front *f)
{
    for (int i = 0; f->threads && i < f->thread_count; i++)
        front_thread_close(&f->threads[i]);
    for (int i = 0; f->listeners && i < f->options.count; i++)
        if (f->listeners[i] >= 0)
            close(f->listeners[i]);
    map_fini(&f->relays);
    tls_context_unref(f->context);
    pthread_mutex_destroy(&f->lock);
    mem_free(f->threads);
    mem_free(f->listeners);
    mem_free(f);
}

static int thread_count(const struct front_options *o)
{
    int cores = cores_available();

    if (o->threads > 0)
        return o->threads;
    return cores > THREADS_MAX ? THREADS_MAX : cores;
}

static int open_listeners(struct front *f, struct buf *err)
{
    f->listeners = mem_array((size_t)f->options.count, sizeof(*f->listeners));
    if (!f->listeners) {
        buf_puts(err, "out of memory");
        return STATUS_NOMEM;
    }
    for (int i = 0; i < f->options.count; i++)
        f->listeners[i] = -1;
    for (int i = 0; i < f->options.count; i++) {
        f->listeners[i] = listen_on(&f->options.addresses[i], err);
        if (f->listeners[i] < 0)
            return STATUS_IO;
    }
    return 0;
}

static int start_threads(struct front *f)
{
    int count = thread_count(&f->options);

    f->threads = mem_array((size_t)count, sizeof(*f->threads));
    if (!f->threads)
        return STATUS_NOMEM;
    f->thread_count = count;
    for (int i = 0; i < count; i++) {
        f->threads[i].front = f;
        f->threads[i].number = i;
        f->threads[i].epoll = -1;
    }
    for (int i = 0; i < count; i++)
        if (front_thread_start(&f->threads[i]) < 0)
            return STATUS_IO;
    return 0;
}

struct front *front_new(
    const struct front_options *options, struct tls_context *context, struct buf *err)
{
    struct front *f = mem_zalloc(sizeof(*f));

    if (!f) {
        buf_puts(err, "out of memory");
        return NULL;
    }
    f->options = *options;
    f->context = context;
    tls_context_ref(context);
    pthread_mutex_init(&f->lock, NULL);
    if (open_listeners(f, err) == 0) {
        f->options.addresses = NULL;
        return f;
    }
    front_stop(f, 0);
    return NULL;
}

int front_start(struct front *f, int server_port)
{
    f->server_port = server_port;
    return start_threads(f);
}

void front_set_context(struct front *f, struct tls_context *context)
{
    struct tls_context *before;

    tls_context_ref(context);
    pthread_mutex_lock(&f->lock);
    before = f->context;
    f->context = context;
    pthread_mutex_unlock(&f->lock);
    tls_context_unref(before);
}

void front_stop_accepting(struct front *f)
{
    atomic_store(&f->refusing, true);
    for (int i = 0; i < f->options.count; i++)
        shutdown(f->listeners[i], SHUT_RDWR);
}

void front_stop(struct front *f, int64_t grace_ms)
{
    if (!f)
        return;
    f->grace_ms = grace_ms;
    for (int i = 0; i < f->thread_count; i++)
        if (f->threads[i].running)
            mailbox_post(&f->threads[i].mailbox, &f->threads[i].stop);
    for (int i = 0; i < f->thread_count; i++)
        if (f->threads[i].running)
            pthread_join(f->threads[i].thread, NULL);
    free_front(f);
}

bool front_peer(struct front *f, int port, struct front_peer *peer)
{
    const struct relay *r;

    pthread_mutex_lock(&f->lock);
    r = map_get(&f->relays, &port, sizeof(port));
    if (r)
        *peer = r->peer;
    pthread_mutex_unlock(&f->lock);
    return r;
}

/* On its way to the connection's thread and back. */
struct errand {
    struct message message;
    struct front_taking *taking;
    sem_t done;
    int rc;
};

/* Only its own thread takes a connection out of the map, so there it is as good as found. */
static struct relay *find(struct front *f, const struct front_taking *t)
{
    struct relay *r;

    pthread_mutex_lock(&f->lock);
    r = map_get(&f->relays, &t->port, sizeof(t->port));
    if (r && r->peer.id != t->id)
        r = NULL;
    pthread_mutex_unlock(&f->lock);
    return r;
}

static void run_errand(struct message *m, void *receiver)
{
    struct errand *e = (struct errand *)m;
    struct front_thread *w = receiver;
    struct relay *r = find(w->front, e->taking);

    e->rc = r && r->thread == w ? relay_take(r, e->taking) : STATUS_CLOSED;
    sem_post(&e->done);
}

static int try_take(struct front *f, struct front_taking *t)
{
    struct errand e = {.message.run = run_errand, .taking = t};
    struct front_thread *w;
    const struct relay *r;

    pthread_mutex_lock(&f->lock);
    r = map_get(&f->relays, &t->port, sizeof(t->port));
    w = r ? r->thread : NULL;
    pthread_mutex_unlock(&f->lock);
    if (!w)
        return STATUS_CLOSED;
    sem_init(&e.done, 0, 0);
    mailbox_post(&w->mailbox, &e.message);
    while (sem_wait(&e.done) < 0)
        ;
    sem_destroy(&e.done);
    return e.rc;
}

int front_take(struct front *f, struct front_taking *t)
{
    int rc = STATUS_CONFLICT;

    for (int i = 0; i < TAKE_TRIES && rc == STATUS_CONFLICT; i++) {
        if (i)
            usleep(1000);
        rc = try_take(f, t);
    }
    return rc == STATUS_CONFLICT ? STATUS_CLOSED : rc;
}

void front_stats(struct front *f, struct front_stats *out)
{
    *out = (struct front_stats){
        .connections = atomic_load_explicit(&f->connections, memory_order_relaxed),
        .handshakes = atomic_load_explicit(&f->handshakes, memory_order_relaxed),
        .resumed = atomic_load_explicit(&f->resumed, memory_order_relaxed),
        .failed = atomic_load_explicit(&f->failed, memory_order_relaxed),
        .late = atomic_load_explicit(&f->late, memory_order_relaxed),
        .dropped = atomic_load_explicit(&f->dropped, memory_order_relaxed),
    };
}
