#include "http/silence.h"

#include "base/clock.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

struct search {
    struct silence *silence;
    int64_t now, patience;
    int found[PEER_LOW], count;
};

/* What is unread waits for a worker, or is being read. */
static bool is_silent(int fd)
{
    int unread = 0;

    return ioctl(fd, FIONREAD, &unread) == 0 && unread == 0;
}

static void look(int fd, int port, void *ctx)
{
    struct search *s = ctx;

    if (s->silence->seen[fd].port != port) {
        s->silence->seen[fd].port = port;
        s->silence->seen[fd].since_ms = s->now;
    } else if (s->now - s->silence->seen[fd].since_ms >= s->patience && is_silent(fd)) {
        s->found[s->count++] = fd;
    }
}

/* It is in a request, or waits for the next. */
static bool is_known(const struct workers *w, int port)
{
    for (int i = 0; i < w->count; i++)
        if (w->all[i].state != WORKER_FREE && w->all[i].peer.port == port)
            return true;
    return false;
}

/*
 * A worker that holds on to its lock can neither close its connection nor begin a request, so with
 * all of them the descriptors stay what they are.
 */
static void lock_all(struct workers *w)
{
    for (int i = 0; i < w->count; i++)
        pthread_mutex_lock(&w->all[i].lock);
}

static void unlock_all(struct workers *w)
{
    for (int i = w->count; i-- > 0;)
        pthread_mutex_unlock(&w->all[i].lock);
}

void silence_end(struct silence *s, struct workers *w, int server_port, int64_t patience)
{
    struct search search = {.silence = s, .now = clock_mono_ms(), .patience = patience};

    peer_each(server_port, look, &search);
    if (!search.count)
        return;
    lock_all(w);
    for (int i = 0; i < search.count; i++) {
        int fd = search.found[i], port = peer_port(fd, server_port);

        if (port == s->seen[fd].port && is_silent(fd) && !is_known(w, port))
            shutdown(fd, SHUT_RD);
    }
    unlock_all(w);
}
