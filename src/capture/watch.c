#include "capture/watch.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include <sys/inotify.h>
#include <unistd.h>

#define LOOK_NS 250000000
#define LOOK_BLIND_NS 10000000
#define AGAIN_FIRST_NS 30000
#define AGAIN_LAST_NS 32000000
/*
 * What is told right after our own commit is seldom of others, who may just have begun. A timer
 * that is to end before the kernel's next tick is dear on a virtual processor: 15 microseconds, for
 * which the subscribers would wait where they are served by the same one.
 */
#define OWN_FIRST_NS 5000000
#define OWN_GROWTH 4

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

int watch_init(struct watch *w, const char *path)
{
    *w = (struct watch){.fd = -1, .descriptor = -1, .path = mem_strdup(path)};
    if (!w->path)
        return STATUS_NOMEM;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd < 0)
        return STATUS_OK;
    add(w);
    if (w->descriptor < 0) {
        close(w->fd);
        w->fd = -1;
    }
    return STATUS_OK;
}

void watch_fini(struct watch *w)
{
    if (w->path && w->fd >= 0)
        close(w->fd);
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

static void heard(struct watch *w, int64_t again_ns, int growth)
{
    drain(w);
    w->again_ns = again_ns;
    w->growth = growth;
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

void watch_wrote(struct watch *w)
{
    int64_t now = clock_mono_ns();
    if (!w->rush && w->fd >= 0 && now - w->wrote_ns < OWN_RUSH_NS)
        begin_rush(w);
    if (!w->rush && w->fd >= 0)
        heard(w, OWN_FIRST_NS, OWN_GROWTH);
    w->wrote_ns = now;
}

static void end_rush(struct watch *w)
{
    w->rush = false;
    add(w);
    /* What was written just before is not told. */
    w->again_ns = AGAIN_FIRST_NS;
    w->growth = 2;
}

int watch_fd(const struct watch *w)
{
    return w->rush ? -1 : w->fd;
}

static int64_t rush_wait(const struct watch *w)
{
    bool only_ours = w->wrote_ns - w->found_ns > RUSH_END_NS;
    return only_ours ? OWN_WAIT_NS : RUSH_WAIT_NS;
}

int64_t watch_timeout(const struct watch *w, int64_t wait_ms)
{
    int64_t ns = w->rush ? rush_wait(w) : w->fd < 0 ? LOOK_BLIND_NS : LOOK_NS;
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
        heard(w, AGAIN_FIRST_NS, 2);
    } else if (w->again_ns) {
        w->again_ns = w->again_ns < AGAIN_LAST_NS ? w->again_ns * w->growth : 0;
    }
}
