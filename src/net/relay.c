#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"
#include "net/front_private.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ROUNDS 4         /* of one connection in one turn */
#define STALLED_MS 30000 /* a client may take so long for what waits for it, which is little */
#define ENDING_MS 1000   /* for the peer to close its side after ours */
#define SERVER_BUFFER (256 << 10) /* the kernel's, of what the server has answered */

static void settle(struct relay *r);

static bool up_empty(const struct relay *r)
{
    return r->up_at == r->up.len;
}

/* To the end of a list, with so much time. */
static void move(struct relay *r, struct list *to, int64_t ms)
{
    struct front_thread *w = r->thread;

    w->waiting_count -= r->state <= RELAY_SILENT;
    list_del(&r->timer);
    r->due = w->now + ms;
    list_add_tail(to, &r->timer);
    w->waiting_count += to == &w->waiting;
}

static void close_source(struct front_thread *w, struct source *s, bool reset)
{
    struct linger now = {1, 0};

    if (s->fd < 0)
        return;
    front_watch(w, s, 0);
    if (reset) /* leaves no port behind for a minute */
        setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(s->fd);
    s->fd = -1;
}

static void forget_port(struct relay *r)
{
    struct front *f = r->thread->front;

    if (!r->port)
        return;
    pthread_mutex_lock(&f->lock);
    map_del(&f->relays, &r->port, sizeof(r->port));
    pthread_mutex_unlock(&f->lock);
    r->port = 0;
}

void relay_kill(struct relay *r)
{
    struct front_thread *w = r->thread;

    if (r->state == RELAY_DEAD)
        return;
    forget_port(r);
    tls_free(r->tls);
    r->tls = NULL;
    close_source(w, &r->client, false);
    close_source(w, &r->server, true);
    move(r, &w->dead, 0);
    r->state = RELAY_DEAD;
    atomic_fetch_sub_explicit(&w->front->connections, 1, memory_order_relaxed);
}

void relay_free(struct relay *r)
{
    list_del(&r->timer);
    buf_fini(&r->up);
    mem_free(r);
}

/* Nothing is to be sent any more. */
static void shut(struct relay *r)
{
    forget_port(r);
    close_source(r->thread, &r->server, true);
    if (r->client_ended || shutdown(r->client.fd, SHUT_WR) < 0) {
        relay_kill(r);
        return;
    }
    move(r, &r->thread->ending, ENDING_MS);
    r->state = RELAY_ENDING;
}

static void discard(struct relay *r)
{
    ssize_t n = 1;

    for (int i = 0; i < ROUNDS && n > 0; i++)
        n = recv(r->client.fd, r->thread->scratch, FRONT_SCRATCH, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        relay_kill(r);
}

/* From the server to the client. */

static void pump_down(struct relay *r)
{
    struct front_thread *w = r->thread;

    for (int i = 0; i < ROUNDS && !r->server_ended && !tls_unsent(r->tls); i++) {
        ssize_t n = recv(r->server.fd, w->scratch, TLS_ROUND, MSG_DONTWAIT);
        struct iovec piece = {w->scratch, n > 0 ? (size_t)n : 0};

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0)
            r->server_ended = true; /* what it said before a reset has been read */
        else if (tls_send(r->tls, &piece, 1, w->room) != n) {
            relay_kill(r);
            return;
        }
    }
    if (!r->server_ended || tls_unsent(r->tls))
        return;
    tls_finish(r->tls);
    if (!tls_unsent(r->tls))
        shut(r);
}

/* From the client to the server. */

static int connect_server(struct relay *r)
{
    struct front *f = r->thread->front;
    struct sockaddr_in to = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)f->server_port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in here;
    socklen_t len = sizeof(here);
    int one = 1, size = SERVER_BUFFER, rc;
    int fd = front_lift(f, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));

    if (fd < 0)
        return STATUS_IO;
    r->server.fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if ((connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS) ||
        getsockname(fd, (struct sockaddr *)&here, &len) < 0)
        return STATUS_IO;
    r->port = ntohs(here.sin_port);
    pthread_mutex_lock(&f->lock);
    rc = map_set(&f->relays, &r->port, sizeof(r->port), r);
    pthread_mutex_unlock(&f->lock);
    if (rc < 0) {
        r->port = 0;
        errno = ENOMEM;
    }
    return rc;
}

/* What of it the server takes now. */
static int forward(struct relay *r, const char *p, size_t len, size_t *taken)
{
    ssize_t n = send(r->server.fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return STATUS_CLOSED;
    *taken = n > 0 ? (size_t)n : 0;
    r->forwarded += *taken;
    return 0;
}

/* A server that takes no more may still be answering. */
static void give_up_forwarding(struct relay *r)
{
    r->deaf = true;
    buf_fini(&r->up);
    r->up_at = 0;
}

static void flush_up(struct relay *r)
{
    size_t taken = 0;

    if (up_empty(r))
        return;
    if (forward(r, r->up.data + r->up_at, r->up.len - r->up_at, &taken) < 0) {
        give_up_forwarding(r);
        return;
    }
    r->up_at += taken;
    if (!up_empty(r))
        return;
    buf_fini(&r->up);
    r->up_at = 0;
    if (r->client_ended)
        shutdown(r->server.fd, SHUT_WR);
}

static void forward_or_keep(struct relay *r, const char *p, size_t len)
{
    size_t taken = 0;

    if (forward(r, p, len, &taken) < 0) {
        give_up_forwarding(r);
        return;
    }
    if (taken < len)
        buf_put(&r->up, p + taken, len - taken);
    if (buf_error(&r->up))
        relay_kill(r);
}

/* The first bytes. */
static void open_relay(struct relay *r)
{
    if (connect_server(r) < 0) {
        log_event(LOG_WARN, "cannot pass a request on", log_text("address", r->peer.address),
            log_text("why", strerror(errno)));
        relay_kill(r);
        return;
    }
    move(r, &r->thread->open, 0);
    r->state = RELAY_OPEN;
}

static void client_at_end(struct relay *r)
{
    r->client_ended = true;
    if (r->state == RELAY_SILENT)
        relay_kill(r);
    else if (up_empty(r))
        shutdown(r->server.fd, SHUT_WR);
}

static void pump_up(struct relay *r)
{
    struct front_thread *w = r->thread;

    for (int i = 0; i < ROUNDS || (r->tls && tls_ended(r->tls)); i++) {
        ssize_t n;

        if (r->client_ended || r->deaf || r->state == RELAY_DEAD ||
            (r->state == RELAY_OPEN && !up_empty(r)))
            return;
        n = tls_recv(r->tls, w->scratch, FRONT_SCRATCH);
        if (n < 0) {
            if (errno != EAGAIN)
                relay_kill(r);
            return;
        }
        if (n > 0 && r->state == RELAY_SILENT)
            open_relay(r);
        if (n == 0)
            client_at_end(r);
        else if (r->state == RELAY_OPEN)
            forward_or_keep(r, w->scratch, (size_t)n);
    }
}

/* The handshake. */

#define PLAIN_BODY                                                                                 \
    "{\"error\":{\"code\":\"INVALID_FORMAT\",\"message\":"                                         \
    "\"this port speaks TLS: write https:// or wss://\"}}\n"

static void answer_plain(struct relay *r)
{
    char answer[256 + sizeof(PLAIN_BODY)];
    int len = snprintf(answer, sizeof(answer),
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
        "Connection: close\r\n\r\n%s",
        sizeof(PLAIN_BODY) - 1, PLAIN_BODY);

    send(r->client.fd, answer, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void fail(struct relay *r, int rc)
{
    struct front *f = r->thread->front;

    atomic_fetch_add_explicit(&f->failed, 1, memory_order_relaxed);
    log_event(LOG_DEBUG, "TLS handshake failed", log_text("address", r->peer.address),
        log_int("port", r->peer.port), log_text("why", tls_problem(r->tls)));
    if (tls_was_http(r->tls))
        answer_plain(r);
    if (rc == STATUS_CLOSED)
        relay_kill(r);
    else
        shut(r);
}

static void handshake(struct relay *r)
{
    struct front *f = r->thread->front;
    int rc = tls_handshake(r->tls);

    if (rc < 0)
        fail(r, rc);
    if (rc != 1)
        return;
    atomic_fetch_add_explicit(&f->handshakes, 1, memory_order_relaxed);
    if (tls_resumed(r->tls))
        atomic_fetch_add_explicit(&f->resumed, 1, memory_order_relaxed);
    snprintf(r->peer.version, sizeof(r->peer.version), "%s", tls_version(r->tls));
    move(r, &r->thread->waiting, f->options.timeout_ms);
    r->state = RELAY_SILENT;
    pump_up(r);
}

/* What is ready. */

static void client_ready(struct front_thread *w, struct source *s, uint32_t events)
{
    struct relay *r = list_entry(s, struct relay, client);

    (void)w, (void)events;
    if (r->state == RELAY_DEAD)
        return;
    if (r->state == RELAY_ENDING) {
        discard(r);
        return;
    }
    if (tls_flush(r->tls) < 0)
        relay_kill(r);
    else if (r->state == RELAY_HANDSHAKE)
        handshake(r);
    else
        pump_up(r);
    if (r->state == RELAY_OPEN)
        pump_down(r);
    settle(r);
}

static void server_ready(struct front_thread *w, struct source *s, uint32_t events)
{
    struct relay *r = list_entry(s, struct relay, server);

    (void)w;
    if (r->state != RELAY_OPEN)
        return;
    if (events & EPOLLOUT) {
        flush_up(r);
        pump_up(r); /* the end of the client's stream is no event of its socket then */
    }
    if (r->state == RELAY_OPEN)
        pump_down(r);
    settle(r);
}

/* What is waited for, according to what is left to do. */
static void settle(struct relay *r)
{
    struct front_thread *w = r->thread;
    bool unsent;
    uint32_t client = EPOLLIN, server = 0;

    if (r->state == RELAY_DEAD)
        return;
    unsent = r->state != RELAY_ENDING && tls_unsent(r->tls);
    if (r->state == RELAY_OPEN) {
        if (r->client_ended || r->deaf || !up_empty(r))
            client = 0;
        if (!r->server_ended && !unsent)
            server |= EPOLLIN;
        if (!up_empty(r))
            server |= EPOLLOUT;
        if (unsent != (r->due != 0)) {
            move(r, unsent ? &w->stalled : &w->open, STALLED_MS);
            r->due = unsent ? r->due : 0;
        }
    }
    if (unsent)
        client |= EPOLLOUT;
    if (!front_watch(w, &r->client, client) ||
        (r->server.fd >= 0 && !front_watch(w, &r->server, server)))
        relay_kill(r);
}

/* The beginning, and being taken out. */

static void describe(struct relay *r, const struct sockaddr_storage *from)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
    bool six = from->ss_family == AF_INET6;

    inet_ntop(from->ss_family, six ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr,
        r->peer.address, sizeof(r->peer.address));
    r->peer.port = ntohs(six ? v6->sin6_port : v4->sin_port);
    r->peer.id = atomic_fetch_add_explicit(&r->thread->front->last_id, 1, memory_order_relaxed) + 1;
}

static struct tls *new_tls(struct front *f, int fd)
{
    struct tls *t;

    pthread_mutex_lock(&f->lock);
    t = tls_new(f->context, fd);
    pthread_mutex_unlock(&f->lock);
    return t;
}

void relay_start(struct front_thread *w, int fd, const struct sockaddr_storage *from)
{
    struct relay *r = mem_zalloc(sizeof(*r));
    struct tls *t = r ? new_tls(w->front, fd) : NULL;
    int one = 1;

    if (!t) {
        mem_free(r);
        close(fd);
        return;
    }
    r->thread = w;
    r->tls = t;
    r->client = (struct source){client_ready, fd, 0};
    r->server = (struct source){server_ready, -1, 0};
    list_init(&r->timer);
    describe(r, from);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    atomic_fetch_add_explicit(&w->front->connections, 1, memory_order_relaxed);
    r->due = w->now + w->front->options.timeout_ms;
    list_add_tail(&w->waiting, &r->timer);
    w->waiting_count++;
    settle(r);
}

static bool in_flight(int fd)
{
    int bytes = 0;

    return ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

int relay_take(struct relay *r, struct front_taking *t)
{
    if (r->state != RELAY_OPEN || r->client_ended || tls_ended(r->tls))
        return STATUS_CLOSED;
    if (!t->more_allowed && (!up_empty(r) || r->forwarded != t->bytes))
        return STATUS_INVALID;
    if (in_flight(t->server_fd))
        return STATUS_CONFLICT;
    pump_down(r); /* answers to what came before */
    if (r->state != RELAY_OPEN || r->server_ended)
        return STATUS_CLOSED;
    if (tls_unsent(r->tls)) {
        settle(r);
        return STATUS_CONFLICT;
    }
    front_watch(r->thread, &r->client, 0);
    t->fd = r->client.fd;
    t->tls = r->tls;
    r->client.fd = -1;
    r->tls = NULL;
    relay_kill(r);
    return 0;
}
