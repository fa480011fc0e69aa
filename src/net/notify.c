#include "net/notify.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

void notify_init(struct notify *n, const char *path)
{
    const struct timeval patience = {.tv_sec = 1};
    size_t len = path ? strlen(path) : 0;

    *n = (struct notify){.fd = -1, .address = {.sun_family = AF_UNIX}};
    if (len < 2 || len >= sizeof(n->address.sun_path) || (*path != '/' && *path != '@'))
        return;
    memcpy(n->address.sun_path, path, len);
    if (*path == '@')
        n->address.sun_path[0] = 0;
    n->length = (unsigned)(offsetof(struct sockaddr_un, sun_path) + len + (*path == '/'));
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (n->fd >= 0)
        setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

void notify_fini(struct notify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

bool notify_send(struct notify *n, const char *text)
{
    size_t len = strlen(text);

    return n->fd >= 0 && sendto(n->fd, text, len, MSG_NOSIGNAL,
                             (const struct sockaddr *)&n->address, n->length) == (ssize_t)len;
}
