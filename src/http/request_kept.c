#include "http/request.h"

#include "base/clock.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>

/* What a kept connection brings after its first request. */

void request_repeat(struct request *r, size_t head_len, const char *body, size_t len)
{
    struct http *h = r->http;

    buf_truncate(&r->unsent, 0);
    *r = (struct request){.http = h,
        .unsent = r->unsent,
        .conn = r->conn,
        .info = r->info,
        .worker = r->worker,
        .method = r->method,
        .path = r->path,
        .head_len = head_len,
        .content_length = (int64_t)len,
        .given = body,
        .body_read = true,
        .keep = !atomic_load(&h->stopping) && !workers_scarce(&h->workers),
        .fd = r->fd,
        .waits = r->waits,
        .began_ns = clock_mono_ns()};
}

static bool set_waiting(int fd, bool on)
{
    struct timeval limit = {.tv_sec = on ? KEEP_ALIVE_MS / 1000 : 0};
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
           fcntl(fd, F_SETFL, on ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) == 0;
}

bool request_wait(struct request *r)
{
    r->waits = set_waiting(r->fd, true);
    return r->waits;
}

void request_unwait(struct request *r)
{
    if (r->waits && !set_waiting(r->fd, false))
        request_close_after(r);
    r->waits = false;
}
