#include "cli/bench_wire.h"
#include "base/mem.h"
#include "base/status.h"

#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 10000L

struct bench_address {
    struct buf base;
    const char *token;
    bool tls;
    struct sockaddr_storage to;
    socklen_t to_len;
};

static int try_each(struct bench_address *a, const struct addrinfo *list, struct buf *err)
{
    int error = 0;

    for (const struct addrinfo *i = list; i; i = i->ai_next) {
        int fd = socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0 && connect(fd, i->ai_addr, i->ai_addrlen) == 0) {
            memcpy(&a->to, i->ai_addr, i->ai_addrlen);
            a->to_len = i->ai_addrlen;
            close(fd);
            return 0;
        }
        error = errno;
        if (fd >= 0)
            close(fd);
    }
    buf_printf(err, "cannot reach %s: %s", a->base.data, strerror(error));
    return STATUS_IO;
}

static int look_up(struct bench_address *a, struct buf *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char *host = NULL, *port = NULL, *bare;
    CURLU *url = curl_url();
    int status = STATUS_IO, failed;

    if (!url || curl_url_set(url, CURLUPART_URL, a->base.data, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK) {
        buf_printf(err, "%s is not an address of a server", a->base.data);
        goto out;
    }
    bare = host;
    if (*host == '[') {
        bare++;
        host[strlen(host) - 1] = '\0';
    }
    failed = getaddrinfo(bare, port, &hints, &list);
    if (failed)
        buf_printf(err, "cannot reach %s: %s", a->base.data, gai_strerror(failed));
    else
        status = try_each(a, list, err);
    if (list)
        freeaddrinfo(list);
out:
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(url);
    return status;
}

struct bench_address *bench_address_new(const struct target *target, struct buf *err)
{
    struct bench_address *a = mem_zalloc(sizeof(*a));
    struct target t = *target;
    int status;

    if (!a) {
        buf_puts(err, "out of memory");
        return NULL;
    }
    status = target_resolve(&t, &a->base, err);
    if (status == 0) {
        a->token = t.token;
        a->tls = strncmp(a->base.data, "https:", 6) == 0;
        status = a->tls ? 0 : look_up(a, err);
    }
    if (status == 0)
        return a;
    bench_address_free(a);
    return NULL;
}

void bench_address_free(struct bench_address *a)
{
    if (!a)
        return;
    buf_fini(&a->base);
    mem_free(a);
}

const char *bench_address_base(const struct bench_address *a)
{
    return a->base.data;
}

const char *bench_address_token(const struct bench_address *a)
{
    return a->token;
}

static int connect_tls(struct bench_wire *w, const struct bench_address *a, struct buf *err)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    CURLcode code;

    w->tls = curl_easy_init();
    if (!w->tls) {
        buf_puts(err, "out of memory");
        return STATUS_NOMEM;
    }
    curl_easy_setopt(w->tls, CURLOPT_URL, a->base.data);
    curl_easy_setopt(w->tls, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(w->tls, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(w->tls, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(w->tls, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (target_is_loopback(a->base.data))
        curl_easy_setopt(w->tls, CURLOPT_NOPROXY, "*");
    code = curl_easy_perform(w->tls);
    if (code == CURLE_OK)
        curl_easy_getinfo(w->tls, CURLINFO_ACTIVESOCKET, &fd);
    if (fd == CURL_SOCKET_BAD) {
        buf_printf(err, "cannot reach %s: %s", a->base.data, curl_easy_strerror(code));
        return STATUS_IO;
    }
    w->fd = fd;
    return 0;
}

static int connect_plain(struct bench_wire *w, const struct bench_address *a, struct buf *err)
{
    int on = 1;

    w->fd = socket(a->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (w->fd >= 0 &&
        (connect(w->fd, (const struct sockaddr *)&a->to, a->to_len) == 0 || errno == EINPROGRESS)) {
        setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        return 0;
    }
    buf_printf(err, "cannot connect to %s: %s", a->base.data, strerror(errno));
    return STATUS_IO;
}

int bench_wire_open(
    struct bench_wire *w, const struct bench_address *a, int epoll, void *owner, struct buf *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = owner};
    int status;

    *w = (struct bench_wire){.fd = -1, .epoll = epoll, .owner = owner};
    status = a->tls ? connect_tls(w, a, err) : connect_plain(w, a, err);
    if (status == 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, w->fd, &event) != 0) {
        buf_printf(err, "cannot wait for a connection: %s", strerror(errno));
        status = STATUS_IO;
    }
    if (status < 0)
        bench_wire_close(w);
    return status;
}

void bench_wire_close(struct bench_wire *w)
{
    if (w->tls) {
        epoll_ctl(w->epoll, EPOLL_CTL_DEL, w->fd, NULL);
        curl_easy_cleanup(w->tls);
    } else if (w->fd > 0) {
        close(w->fd);
    }
    buf_fini(&w->out);
    *w = (struct bench_wire){.fd = -1};
}

/* Tells epoll whether it matters that the socket takes more. */
static void wait_to_write(struct bench_wire *w, bool wait)
{
    struct epoll_event event = {
        .events = wait ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = w->owner};

    if (w->waits != wait && epoll_ctl(w->epoll, EPOLL_CTL_MOD, w->fd, &event) == 0)
        w->waits = wait;
}

/* Bytes taken, 0 when none are now. */
static ssize_t put(struct bench_wire *w, const void *p, size_t len)
{
    ssize_t n;

    if (w->tls) {
        size_t sent = 0;
        CURLcode code = curl_easy_send(w->tls, p, len, &sent);

        return code == CURLE_OK || code == CURLE_AGAIN ? (ssize_t)sent : STATUS_CLOSED;
    }
    n = send(w->fd, p, len, MSG_NOSIGNAL);
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR || errno == ENOTCONN ? 0 : STATUS_CLOSED;
}

int bench_wire_flush(struct bench_wire *w)
{
    while (w->sent < w->out.len) {
        ssize_t n = put(w, w->out.data + w->sent, w->out.len - w->sent);

        if (n <= 0) {
            wait_to_write(w, true);
            return (int)n;
        }
        w->sent += (size_t)n;
    }
    w->sent = 0;
    buf_fini(&w->out);
    wait_to_write(w, false);
    return 0;
}

int bench_wire_send(struct bench_wire *w, const void *p, size_t len)
{
    ssize_t n = 0;

    if (w->fd < 0)
        return STATUS_CLOSED;
    if (!w->out.len) {
        n = put(w, p, len);
        if (n < 0 || (size_t)n == len)
            return n < 0 ? (int)n : 0;
    }
    buf_put(&w->out, (const char *)p + n, len - (size_t)n);
    wait_to_write(w, true);
    return buf_error(&w->out);
}

ssize_t bench_wire_read(struct bench_wire *w, void *to, size_t len)
{
    ssize_t n;

    if (w->fd < 0)
        return STATUS_CLOSED;
    if (w->tls) {
        size_t got = 0;
        CURLcode code = curl_easy_recv(w->tls, to, len, &got);

        if (code == CURLE_AGAIN)
            return 0;
        return code == CURLE_OK && got > 0 ? (ssize_t)got : STATUS_CLOSED;
    }
    n = recv(w->fd, to, len, 0);
    if (n > 0)
        return n;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : STATUS_CLOSED;
}
