#include "http/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TCP_CLOSE_WAIT_STATE 8 /* as in <netinet/tcp.h>, whose struct tcp_info is an older one */

union address {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_storage storage;
};

static int descriptor_limit(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur > 1 << 24)
        return 1 << 24;
    return (int)r.rlim_cur;
}

int peer_low(void)
{
    int limit = descriptor_limit();

    return limit >= 4 * PEER_LOW ? PEER_LOW : limit / 4;
}

static int port_of(const union address *a)
{
    return ntohs(a->sa.sa_family == AF_INET6 ? a->in6.sin6_port : a->in.sin_port);
}

/* IPv4 addresses become v4-mapped, so that both families compare. */
static void normalise(struct in6_addr *out, const union address *a)
{
    if (a->sa.sa_family == AF_INET6) {
        *out = a->in6.sin6_addr;
        return;
    }
    memset(out, 0, sizeof(*out));
    out->s6_addr[10] = out->s6_addr[11] = 0xff;
    memcpy(out->s6_addr + 12, &a->in.sin_addr, 4);
}

static bool parse_address(struct in6_addr *out, const char *text)
{
    union address a = {0};

    if (inet_pton(AF_INET, text, &a.in.sin_addr) == 1)
        a.sa.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &a.in6.sin6_addr) == 1)
        a.sa.sa_family = AF_INET6;
    else
        return false;
    normalise(out, &a);
    return true;
}

static bool is_inet(const union address *a)
{
    return a->sa.sa_family == AF_INET || a->sa.sa_family == AF_INET6;
}

static bool matches(int fd, const struct peer *p, const struct in6_addr *want)
{
    union address remote, local;
    struct in6_addr have;
    socklen_t len = sizeof(remote);

    if (getpeername(fd, &remote.sa, &len) < 0 || !is_inet(&remote) || port_of(&remote) != p->port)
        return false;
    normalise(&have, &remote);
    if (memcmp(&have, want, sizeof(have)) != 0)
        return false;
    len = sizeof(local);
    return getsockname(fd, &local.sa, &len) == 0 && port_of(&local) == p->server_port;
}

static int scan(const struct peer *p, const struct in6_addr *want, int from, int to, int *found)
{
    int count = 0;

    for (int fd = from; fd < to && count < 2; fd++) {
        if (matches(fd, p, want)) {
            *found = fd;
            count++;
        }
    }
    return count;
}

int peer_find(const struct peer *p)
{
    struct in6_addr want;
    int fd = -1, low = peer_low(), count;

    if (!parse_address(&want, p->address))
        return -1;
    count = scan(p, &want, 0, low, &fd);
    if (count == 0)
        count = scan(p, &want, low, descriptor_limit(), &fd);
    return count == 1 ? fd : -1;
}

int peer_find_listener(int port)
{
    for (int fd = 0; fd < peer_low(); fd++) {
        union address local;
        socklen_t len = sizeof(local), size = sizeof(int);
        int listening = 0;

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening &&
            getsockname(fd, &local.sa, &len) == 0 && is_inet(&local) && port_of(&local) == port)
            return fd;
    }
    return -1;
}

int peer_port(int fd, int server_port)
{
    union address remote, local;
    socklen_t len = sizeof(remote), size = sizeof(local);

    if (getpeername(fd, &remote.sa, &len) < 0 || !is_inet(&remote) ||
        getsockname(fd, &local.sa, &size) < 0 || port_of(&local) != server_port)
        return 0;
    return port_of(&remote);
}

void peer_each(int server_port, void (*each)(int fd, int port, void *ctx), void *ctx)
{
    for (int fd = 0; fd < peer_low(); fd++) {
        int port = peer_port(fd, server_port);

        if (port)
            each(fd, port, ctx);
    }
}

static void reset_options(int fd)
{
    struct timeval none = {0, 0};
    struct linger off = {0, 0};
    int flags = fcntl(fd, F_GETFL);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int peer_detach(int fd)
{
    int dead[2], moved, saved;

    moved = fcntl(fd, F_DUPFD_CLOEXEC, peer_low());
    if (moved < 0 && (errno == EMFILE || errno == EINVAL))
        moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (moved < 0)
        return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, dead) < 0)
        goto fail;
    close(dead[1]);
    if (dup3(dead[0], fd, O_CLOEXEC) < 0) {
        saved = errno;
        close(dead[0]);
        errno = saved;
        goto fail;
    }
    close(dead[0]);
    reset_options(moved);
    return moved;
fail:
    saved = errno;
    close(moved);
    errno = saved;
    return -1;
}

/* All that arrived; the end of the stream counts as a byte there. */
static int64_t bytes_received(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
        len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received))
        return -1;
    return (int64_t)info.tcpi_bytes_received - (info.tcpi_state == TCP_CLOSE_WAIT_STATE);
}

int64_t peer_bytes_read(int fd)
{
    for (int i = 0; i < 100; i++) {
        int64_t before = bytes_received(fd);
        int waiting;

        if (before < 0 || ioctl(fd, FIONREAD, &waiting) < 0)
            return -1;
        if (bytes_received(fd) == before) /* else some arrived in between */
            return before - waiting;
    }
    return -1;
}
