#include "capture/watch.h"

#include "base/mem.h"
#include "base/status.h"
#include <sys/inotify.h>
#include <unistd.h>

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

void watch_drain(struct watch *w)
{
    union {
        struct inotify_event event;
        char bytes[4096];
    } u;
    bool gone = false;
    ssize_t n;
    while ((n = read(w->fd, u.bytes, sizeof(u.bytes))) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const void *)(u.bytes + at);
            gone |= (e->mask & IN_IGNORED) != 0;
            at += (ssize_t)(sizeof(*e) + e->len);
        }
    if (gone)
        add(w);
}
