#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "peer.h"
#include "secure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

struct session {
    struct server *server;
    struct conn *conn;
};

static void *server_open(struct conn *c, void *start_ctx)
{
    struct server *s = start_ctx;
    int refuse = atomic_load(&s->refuse);
    struct session *session = refuse ? NULL : mem_alloc(sizeof(*session));

    if (refuse == 2)
        conn_close_now(c, WS_CLOSE_POLICY, "go away", NULL, 0);
    if (!session)
        return NULL;
    *session = (struct session){s, c};
    if (atomic_load(&s->window_bits))
        conn_compress(c, atomic_load(&s->window_bits));
    atomic_fetch_add(&s->opened, 1);
    return session;
}

static void flood(struct conn *c, int count, size_t size, int pause_us)
{
    struct body *b = body_new_empty(size);
    char prefix[20];
    int i, rc = 0;

    if (!b) {
        conn_close_now(c, WS_CLOSE_INTERNAL, "out of memory", NULL, 0);
        return;
    }
    memset(b->data, 'b', size);
    for (i = 0; i < count && rc == 0; i++) {
        snprintf(prefix, sizeof(prefix), "%d:", i);
        rc = conn_send(c, prefix, strlen(prefix), b);
        if (pause_us)
            usleep((unsigned)pause_us);
    }
    body_unref(b);
}

static bool put_part(struct conn *c, int i, size_t size)
{
    struct body *b = body_new_empty(WS_HEADER_MAX + size);
    size_t head;
    bool taken;

    assert_non_null(b);
    head = ws_header((uint8_t *)b->data, WS_TEXT, size);
    memset(b->data + head, 'b', size);
    b->data[head + (size_t)snprintf(b->data + head, size, "%d:", i)] = 'b';
    b->number = (uint32_t)i + 1;
    taken = conn_send_part(c, b, 0, (uint32_t)(head + size), (uint32_t)size, 1);
    body_unref(b);
    return taken;
}

static void put_parts(struct session *session, int count, size_t size)
{
    atomic_int *parts = &session->server->parts;

    for (int i = 0; i < count && put_part(session->conn, atomic_load(parts), size); i++)
        atomic_fetch_add(parts, 1);
}

struct note {
    struct conn_note note;
    struct server *server;
};

static void note_done(struct conn_note *n, bool sent)
{
    struct note *note = list_entry(n, struct note, note);

    atomic_fetch_add(sent ? &note->server->notes_sent : &note->server->notes_lost, 1);
    mem_free(note);
}

static void put_note(struct session *session)
{
    struct note *n = mem_zalloc(sizeof(*n));

    if (!n)
        return;
    n->note.done = note_done;
    n->server = session->server;
    conn_note(session->conn, &n->note);
}

static void expect(struct server *s, int posted)
{
    if (atomic_load(&s->posted) < posted)
        atomic_fetch_add(&s->too_early, 1);
}

static int server_message(void *owner, enum ws_opcode opcode, const char *data, size_t len)
{
    struct session *session = owner;
    struct conn *c = session->conn;
    char text[64] = "";
    int a, b;

    (void)opcode;
    memcpy(text, data, len < 63 ? len : 63);
    if (sscanf(text, "flood %d %d", &a, &b) == 2) {
        flood(c, a, (size_t)b, 0);
    } else if (sscanf(text, "drain %d %d", &a, &b) == 2) {
        flood(c, a, (size_t)b, 0);
        conn_want_drained(c, conn_queued(c) / 2);
    } else if (sscanf(text, "note %d %d", &a, &b) == 2) {
        flood(c, a, (size_t)b, 0);
        put_note(session);
    } else if (sscanf(text, "move %d %d", &a, &b) == 2) {
        flood(c, a, (size_t)b, 0);
        conn_move_note(c, conn_last_note(c));
    } else if (sscanf(text, "pour %d %d", &a, &b) == 2) {
        flood(c, a, (size_t)b, 2000);
        atomic_store(&session->server->queued, (int)conn_queued(c));
    } else if (sscanf(text, "parts %d %d", &a, &b) == 2) {
        put_parts(session, a, (size_t)b);
    } else if (sscanf(text, "expect %d", &a) == 1) {
        expect(session->server, a);
    } else if (strcmp(text, "close") == 0) {
        conn_send_text(c, "bye", 3);
        conn_close(c, 1008, "policy");
    } else if (strcmp(text, "now") == 0) {
        conn_send_text(c, "bye", 3);
        conn_close_now(c, 1008, "policy", "last", 4);
    } else if (strcmp(text, "stop") == 0) {
        return -1;
    } else {
        if (strncmp(text, "wasted", 6) == 0)
            conn_wasted(c);
        conn_send_text(c, data, len);
    }
    atomic_fetch_add(&session->server->messages, 1);
    return 0;
}

static void server_closed(void *owner, int code)
{
    struct session *session = owner;

    atomic_store(&session->server->last_code, code);
    atomic_fetch_add(&session->server->closed, 1);
    mem_free(session);
}

static void server_refused(void *start_ctx)
{
    struct server *s = start_ctx;

    atomic_fetch_add(&s->refused, 1);
}

static void server_drained(void *owner)
{
    struct session *session = owner;

    atomic_fetch_add(&session->server->drained, 1);
}

static void server_forgotten(void *owner)
{
    struct session *session = owner;

    atomic_fetch_add(&session->server->forgotten, 1);
}

const struct conn_ops server_ops = {
    .open = server_open,
    .message = server_message,
    .closed = server_closed,
    .refused = server_refused,
    .drained = server_drained,
    .forgotten = server_forgotten,
};

static void slow(void *owner, struct buf *last)
{
    (void)owner;
    buf_puts(last, "too slow");
}

void server_start(struct server *s, const struct loop_options *options)
{
    struct loop_options o = options ? *options : (struct loop_options){0};

    memset(s, 0, sizeof(*s));
    o.ctx = s;
    o.slow = slow;
    if (!o.max_message)
        o.max_message = 1 << 20;
    if (!o.max_queue)
        o.max_queue = 64 << 20;
    s->loop = loop_new(&o);
    assert_non_null(s->loop);
}

void server_stop(struct server *s)
{
    struct loop_stats stats;

    loop_stop(s->loop, 2000);
    loop_stats(s->loop, &stats);
    loop_free(s->loop);
    assert_int_equal(atomic_load(&s->opened), atomic_load(&s->closed));
    assert_int_equal(stats.accepted, stats.closed);
    assert_int_equal(stats.connections, 0);
    assert_int_equal(stats.unanswered, 0);
    assert_int_equal(stats.latency_count, 0);
    assert_int_equal(stats.latency_total_us, 0);
}

static void run_post(struct message *m, void *receiver)
{
    struct server *s = receiver;

    assert_true(loop_is_current(s->loop));
    atomic_fetch_add(&s->posted, 1);
    mem_free(m);
}

void server_post(struct server *s)
{
    struct message *m = mem_zalloc(sizeof(*m));

    assert_non_null(m);
    m->run = run_post;
    loop_post(s->loop, m);
}

void server_wait(atomic_int *v, int n)
{
    int i;

    for (i = 0; i < 1000 && atomic_load(v) < n; i++)
        usleep(5000);
    assert_true(atomic_load(v) >= n);
}

void peer_pair(int fds[2], int buffer)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(l >= 0);
    assert_int_equal(bind(l, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(l, 1), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)&a, &len), 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fds[0] >= 0);
    if (buffer)
        setsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    assert_int_equal(connect(fds[0], (struct sockaddr *)&a, len), 0);
    fds[1] = accept(l, NULL, NULL);
    assert_true(fds[1] >= 0);
    if (buffer)
        setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    close(l);
}

/* As recv; the end counts only if it was said. */
static ssize_t receive(struct peer *p, char *to, size_t size)
{
    int n, error;

    if (!p->ssl)
        return recv(p->fd, to, size, 0);
    n = SSL_read(p->ssl, to, (int)size);
    if (n > 0)
        return n;
    error = SSL_get_error(p->ssl, n);
    errno = error == SSL_ERROR_WANT_READ ? EAGAIN : ECONNRESET;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static bool wait_readable(const struct peer *p, int ms)
{
    struct pollfd f = {.fd = p->fd, .events = POLLIN};

    return (p->ssl && SSL_pending(p->ssl)) || poll(&f, 1, ms) == 1;
}

static bool more(struct peer *p)
{
    int64_t end = clock_mono_ms() + p->wait_ms, left;
    ssize_t n;

    if (p->at) {
        memmove(p->data, p->data + p->at, p->len - p->at);
        p->len -= p->at;
        p->at = 0;
    }
    do {
        left = end - clock_mono_ms();
        if (!wait_readable(p, left > 0 ? (int)left : 0)) {
            errno = EAGAIN;
            return false;
        }
        n = receive(p, p->data + p->len, sizeof(p->data) - p->len);
    } while (n < 0 && errno == EAGAIN); /* TLS spoke to itself */
    if (n == 0)
        errno = 0;
    if (n > 0)
        p->len += (size_t)n;
    return n > 0;
}

static bool want(struct peer *p, size_t n)
{
    while (p->len - p->at < n) {
        if (!more(p))
            return false;
    }
    return true;
}

struct peer *peer_new_buffered(struct server *s, int buffer)
{
    struct peer *p = calloc(1, sizeof(*p));
    struct tls *tls = NULL;
    int fds[2];

    assert_non_null(p);
    peer_pair(fds, buffer);
    p->fd = fds[0];
    p->wait_ms = 5000;
    if (secure_wanted())
        p->ssl = secure_pair(fds, 0, &tls);
    if (p->ssl && !tls) { /* as the server does where memory runs out in front of the handshake */
        close(fds[1]);
        return p;
    }
    loop_adopt_tls(s->loop, fds[1], tls, &server_ops, s, "HELLO", 5);
    if (want(p, 5)) {
        assert_memory_equal(p->data, "HELLO", 5);
        p->at = 5;
    }
    return p;
}

struct peer *peer_new(struct server *s)
{
    return peer_new_buffered(s, 0);
}

void peer_free(struct peer *p)
{
    SSL_free(p->ssl);
    close(p->fd);
    free(p);
}

/* As a blocking send. */
static ssize_t transmit(struct peer *p, const char *from, size_t len)
{
    struct pollfd f = {.fd = p->fd, .events = POLLOUT};
    int n;

    if (!p->ssl)
        return send(p->fd, from, len, MSG_NOSIGNAL);
    while ((n = SSL_write(p->ssl, from, (int)len)) <= 0) {
        if (SSL_get_error(p->ssl, n) != SSL_ERROR_WANT_WRITE)
            return -1;
        poll(&f, 1, 5000);
    }
    return n;
}

void peer_raw(struct peer *p, const void *data, size_t len)
{
    const char *from = data;

    while (len) {
        ssize_t n = transmit(p, from, len);

        if (n < 0)
            return; /* the server has hung up: what comes next tells */
        from += n;
        len -= (size_t)n;
    }
}

void peer_send(struct peer *p, unsigned first_byte, const void *data, size_t len)
{
    static const uint8_t key[4] = {0xa1, 0xb2, 0xc3, 0xd4};
    uint8_t *frame = malloc(WS_HEADER_MAX + len);
    size_t n;

    assert_non_null(frame);
    n = ws_header_client(frame, WS_TEXT, len, key);
    frame[0] = (uint8_t)first_byte;
    if (len)
        memcpy(frame + n, data, len);
    ws_mask(frame + n, len, key, 0);
    peer_raw(p, frame, n + len);
    free(frame);
}

void peer_text(struct peer *p, const char *text)
{
    peer_send(p, 0x81, text, strlen(text));
}

void peer_shut(struct peer *p)
{
    if (p->ssl)
        SSL_shutdown(p->ssl);
    shutdown(p->fd, SHUT_WR);
}

static const char *why(void)
{
    return errno == 0 ? "end" : errno == EAGAIN ? "nothing" : "reset";
}

#define TOLD 65536
static char text[TOLD + 32];

static const char *tell_deflated(const char *data, size_t len)
{
    static const char name[] = "deflated ", tail[4] = {0, 0, -1, -1};
    z_stream z = {0};
    size_t n = sizeof(name) - 1;

    memcpy(text, name, n);
    assert_int_equal(inflateInit2(&z, -15), Z_OK);
    z.next_out = (Bytef *)text + n;
    z.avail_out = TOLD;
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)len;
    assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)tail;
    z.avail_in = 4;
    assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
    assert_int_equal(z.avail_in, 0);
    assert_true(z.avail_out > 0);
    text[n + z.total_out] = '\0';
    inflateEnd(&z);
    return text;
}

static const char *tell(unsigned first_byte, const char *data, size_t len)
{
    const uint8_t *bytes = (const uint8_t *)data;
    unsigned opcode = first_byte & 15;

    if (first_byte & 0x40) {
        assert_int_equal(opcode, WS_TEXT);
        return tell_deflated(data, len);
    }
    if (opcode == WS_PING)
        return "ping";
    if (opcode == WS_CLOSE && len >= 2)
        snprintf(
            text, sizeof(text), "close %d %.*s", bytes[0] << 8 | bytes[1], (int)len - 2, data + 2);
    else
        snprintf(text, sizeof(text), "%s %.*s",
            opcode == WS_TEXT   ? "text"
            : opcode == WS_PONG ? "pong"
                                : "close",
            (int)len, data);
    return text;
}

const char *peer_next(struct peer *p)
{
    size_t len, head = 2;
    const uint8_t *h;
    int i;

    if (!want(p, 2))
        return why();
    h = (const uint8_t *)p->data + p->at;
    if (h[1] == 126)
        head = 4;
    if (h[1] == 127)
        head = 10;
    if (!want(p, head))
        return why();
    h = (const uint8_t *)p->data + p->at;
    len = h[1];
    if (head > 2) {
        for (len = 0, i = 2; i < (int)head; i++)
            len = len << 8 | h[i];
    }
    assert_true(h[0] & 0x80);
    assert_true(len < sizeof(p->data) - head);
    if (!want(p, head + len))
        return why();
    p->at += head + len;
    return tell((uint8_t)p->data[p->at - head - len], p->data + p->at - len, len);
}
