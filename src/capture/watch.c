#include "capture/watch.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#define LOOK_NS 250000000
#define LOOK_BLIND_NS 10000000
#define AGAIN_FIRST_NS 30000
#define AGAIN_LAST_NS 32000000

/*
 * Being told of each write costs the writer a microsecond or two, and us more than the commit
 * itself. Where commits follow one another so closely nothing is told: the next look comes after a
 * while and finds several, until none is found for some time.
 */
#define RUSH_NS 400000
#define OWN_RUSH_NS 2000000 /* our own: before each of them the index is looked at as well */
#define RUSH_WAIT_NS 250000
#define OWN_WAIT_NS 1000000
#define RUSH_END_NS 3000000

static void add(struct watch *w)
{
    w->descriptor = inotify_add_watch(w->fd, w->path, IN_MODIFY);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void watch_hear(struct watch *w)
{
    struct epoll_event e = {.events = EPOLLIN};
    if (w->deaf && w->fd >= 0)
        w->deaf = epoll_ctl(w->ears, EPOLL_CTL_ADD, w->fd, &e) < 0;
}

void watch_deafen(struct watch *w)
{
    if (!w->rush && !w->deaf && w->fd >= 0)
        w->deaf = epoll_ctl(w->ears, EPOLL_CTL_DEL, w->fd, NULL) == 0;
}

int watch_init(struct watch *w, const char *path)
{
    *w = (struct watch){
        .fd = -1, .ears = -1, .deaf = true, .descriptor = -1, .path = mem_strdup(path)};
    if (!w->path)
        return STATUS_NOMEM;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    w->ears = epoll_create1(EPOLL_CLOEXEC);
    if (w->fd >= 0)
        add(w);
    if (w->descriptor >= 0)
        watch_hear(w);
    if (w->deaf) {
        close_fd(&w->fd);
        close_fd(&w->ears);
    }
    return STATUS_OK;
}

void watch_fini(struct watch *w)
{
    if (w->path) {
        close_fd(&w->fd);
        close_fd(&w->ears);
    }
    mem_free(w->path);
    w->path = NULL;
}

static void drain(struct watch *w)
{
    union {
        struct inotify_event event;
        char bytes[4096];
    } u;
    bool gone = false;
    ssize_t n;
    do {
        n = read(w->fd, u.bytes, sizeof(u.bytes));
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const void *)(u.bytes + at);
            gone |= (e->mask & IN_IGNORED) && e->wd == w->descriptor;
            at += (ssize_t)(sizeof(*e) + e->len);
        }
    } while (n > (ssize_t)(sizeof(u.bytes) - sizeof(u.event)));
    if (gone)
        add(w);
}

static void begin_rush(struct watch *w)
{
    w->rush = true;
    inotify_rm_watch(w->fd, w->descriptor);
    w->descriptor = -1;
}

void watch_found(struct watch *w)
{
    int64_t now = clock_mono_ns();
    if (!w->rush && w->fd >= 0 && now - w->found_ns < RUSH_NS)
        begin_rush(w);
    w->found_ns = now;
}

bool watch_wrote(struct watch *w)
{
    int64_t now = clock_mono_ns();
    bool begins = !w->rush && w->fd >= 0 && now - w->wrote_ns < OWN_RUSH_NS;
    if (begins)
        begin_rush(w);
    if (!w->rush && w->fd >= 0)
        drain(w);
    w->again_ns = 0;
    w->wrote_ns = now;
    return begins;
}

void watch_missed(struct watch *w)
{
    w->again_ns = AGAIN_FIRST_NS;
}

static void end_rush(struct watch *w)
{
    w->rush = false;
    add(w);
    /* What was written just before is not told. */
    watch_missed(w);
}

int watch_fd(const struct watch *w)
{
    return w->rush ? -1 : w->ears;
}

static int64_t rush_wait(const struct watch *w)
{
    bool only_ours = w->wrote_ns - w->found_ns > RUSH_END_NS;
    return only_ours ? OWN_WAIT_NS : RUSH_WAIT_NS;
}

int64_t watch_timeout(const struct watch *w, int64_t wait_ms)
{
    int64_t ns = w->rush ? rush_wait(w) : w->deaf ? LOOK_BLIND_NS : LOOK_NS;
    if (wait_ms >= 0 && wait_ms * 1000000 < ns)
        ns = wait_ms * 1000000;
    return !w->rush && w->again_ns && w->again_ns < ns ? w->again_ns : ns;
}

void watch_woke(struct watch *w, bool readable)
{
    if (w->rush) {
        int64_t last_ns = w->found_ns > w->wrote_ns ? w->found_ns : w->wrote_ns;
        if (clock_mono_ns() - last_ns > RUSH_END_NS)
            end_rush(w);
    } else if (readable) {
        drain(w);
        watch_missed(w);
    } else if (w->again_ns) {
        w->again_ns = w->again_ns < AGAIN_LAST_NS ? w->again_ns * 2 : 0;
    }
}
