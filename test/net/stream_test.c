#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections without frames. What is sent to a client is decided when it connects. */
struct plan {
    struct server *server;
    const char *text; /* sent first */
    int count;        /* then so many messages "i:bbb…\n" with a shared body of `size` bytes */
    size_t size;
    void (*last)(struct conn *c); /* then this; may be NULL */
    struct conn *conn;
    struct message flood;
};

static struct server server;

static void send_many(struct conn *c, int count, size_t size)
{
    struct body *b = body_new_empty(size);
    char prefix[20];
    int rc = b ? 0 : -1;

    if (b)
        memset(b->data, 'b', size);
    if (b)
        b->data[size - 1] = '\n';
    for (int i = 0; i < count && rc == 0; i++) {
        snprintf(prefix, sizeof(prefix), "%d:", i);
        rc = conn_send(c, prefix, strlen(prefix), b);
    }
    if (!b)
        conn_close_now(c, WS_CLOSE_INTERNAL, NULL, NULL, 0);
    body_unref(b);
}

static void *on_open(struct conn *c, void *start_ctx)
{
    struct plan *p = start_ctx;

    p->conn = c;
    atomic_fetch_add(&p->server->opened, 1);
    if (p->text)
        conn_send_text(c, p->text, strlen(p->text));
    if (p->count)
        send_many(c, p->count, p->size);
    if (p->last)
        p->last(c);
    return p;
}

static void on_closed(void *owner, int code)
{
    struct plan *p = owner;

    atomic_store(&p->server->last_code, code);
    atomic_fetch_add(&p->server->closed, 1);
}

static void on_refused(void *start_ctx)
{
    struct plan *p = start_ctx;

    atomic_fetch_add(&p->server->refused, 1);
}

static void put_keep_alive(void *owner, struct buf *out)
{
    (void)owner;
    buf_puts(out, ":\n\n");
}

static const struct conn_ops ops = {
    .open = on_open, .closed = on_closed, .refused = on_refused, .keep_alive = put_keep_alive};

static int start(struct plan *p, const struct loop_options *options, int buffer)
{
    int fds[2];

    server_start(&server, options);
    p->server = &server;
    peer_pair(fds, buffer);
    loop_adopt(server.loop, fds[1], &ops, p, NULL, 0);
    return fds[0];
}

static void finish(int fd, int code)
{
    close(fd);
    server_wait(&server.closed, 1);
    assert_int_equal(atomic_load(&server.last_code), code);
    server_stop(&server);
}

/* Exactly this comes. */
static void expect(int fd, const char *text)
{
    size_t len = strlen(text), at = 0;
    char *got = calloc(1, len + 1);

    while (at < len) {
        struct pollfd f = {.fd = fd, .events = POLLIN};
        ssize_t n = poll(&f, 1, 5000) == 1 ? recv(fd, got + at, len - at, 0) : 0;

        if (n <= 0)
            break;
        at += (size_t)n;
    }
    assert_string_equal(got, text);
    free(got);
}

/* All that comes up to the end, in a block to be freed. */
static char *read_all(int fd, size_t *len)
{
    size_t cap = 1 << 16;
    char *got = malloc(cap);
    ssize_t n;

    *len = 0;
    while ((n = recv(fd, got + *len, cap - *len - 1, 0)) > 0) {
        *len += (size_t)n;
        if (cap - *len < 2)
            got = realloc(got, cap *= 2);
    }
    got[*len] = '\0';
    return got;
}

/* Checks count messages from *at on. */
static void check_messages(const char **at, int count, size_t size)
{
    char prefix[20];

    for (int i = 0; i < count; i++) {
        int n = snprintf(prefix, sizeof(prefix), "%d:", i);

        assert_memory_equal(*at, prefix, n);
        *at += n;
        assert_int_equal(strspn(*at, "b"), size - 1);
        *at += size;
    }
}

static void close_now(struct conn *c)
{
    conn_close_now(c, WS_CLOSE_POLICY, "why", "last\n", 5);
}

static void close_soon(struct conn *c)
{
    conn_close(c, WS_CLOSE_NORMAL, "why");
    assert_int_not_equal(conn_send_text(c, "late", 4), 0);
}

static void test_bytes_as_they_are(void **state)
{
    struct plan p = {.text = "head\n", .count = 2, .size = 3};
    int fd = start(&p, NULL, 0);

    (void)state;
    expect(fd, "head\n0:bb\n1:bb\n");
    finish(fd, WS_CLOSE_ABNORMAL);
}

/* What it says does not matter, not even a WebSocket's Close or a ping; its end does. */
static void test_incoming_is_thrown_away(void **state)
{
    static char noise[300000];
    struct plan p = {.text = "x"};
    int fd = start(&p, NULL, 0);
    size_t at = 0;

    (void)state;
    expect(fd, "x");
    memcpy(noise, "\x88\x80\0\0\0\0\x89\x80\0\0\0\0", 12);
    while (at < sizeof(noise)) {
        ssize_t n = send(fd, noise + at, sizeof(noise) - at, MSG_NOSIGNAL);

        assert_true(n > 0);
        at += (size_t)n;
    }
    usleep(100000);
    assert_int_equal(atomic_load(&server.closed), 0);
    shutdown(fd, SHUT_WR);
    server_wait(&server.closed, 1);
    finish(fd, WS_CLOSE_ABNORMAL);
}

/* Far more than the socket takes at once, for a reader in small steps; then the end. */
static void test_partial_sends(void **state)
{
    struct plan p = {.count = 700, .size = 30000, .last = close_soon};
    int fd = start(&p, NULL, 65536);
    const char *at;
    char *got;
    size_t len;

    (void)state;
    got = read_all(fd, &len);
    at = got;
    check_messages(&at, 700, 30000);
    assert_ptr_equal(at, got + len);
    free(got);
    finish(fd, WS_CLOSE_NORMAL);
}

/* The client has shut its side already: it still gets the answer. */
static void test_closing_after_its_end(void **state)
{
    struct plan p = {.text = "answer", .last = close_soon, .server = &server};
    char *got;
    size_t len;
    int fds[2];

    (void)state;
    server_start(&server, NULL);
    peer_pair(fds, 0);
    shutdown(fds[0], SHUT_WR);
    loop_adopt(server.loop, fds[1], &ops, &p, NULL, 0);
    got = read_all(fds[0], &len);
    assert_string_equal(got, "answer");
    free(got);
    finish(fds[0], WS_CLOSE_NORMAL);
}

/* A message that has begun is finished, the rest forgotten. */
static void test_closing_now(void **state)
{
    struct plan p = {.count = 700, .size = 30000, .last = close_now};
    int fd = start(&p, NULL, 65536), count = 0;
    const char *at;
    char *got, *line;
    size_t len;

    (void)state;
    got = read_all(fd, &len);
    for (line = got; (line = strchr(line, '\n')); line++)
        count++;
    assert_in_range(count, 2, 699);
    at = got;
    check_messages(&at, count - 1, 30000);
    assert_string_equal(at, "last\n");
    free(got);
    finish(fd, WS_CLOSE_POLICY);
}

static void run_flood(struct message *m, void *receiver)
{
    struct plan *p = list_entry(m, struct plan, flood);

    (void)receiver;
    send_many(p->conn, 700, 30000);
}

static void test_slow_reader(void **state)
{
    struct plan p = {.flood.run = run_flood};
    int fd = start(&p, &(struct loop_options){.max_queue = 1 << 20}, 65536);
    struct loop_stats stats;
    char *got;
    size_t len;

    (void)state;
    server_wait(&server.opened, 1);
    loop_post(server.loop, &p.flood);
    got = read_all(fd, &len);
    assert_in_range(len, 30000, 20000000);
    assert_string_equal(got + len - 9, "\ntoo slow");
    free(got);
    server_wait(&server.closed, 1);
    loop_stats(server.loop, &stats);
    assert_int_equal(stats.slow_closed, 1);
    finish(fd, WS_CLOSE_TRY_LATER);
}

static void test_keep_alive(void **state)
{
    struct plan p = {.text = "head\n"};
    int fd = start(&p, &(struct loop_options){.heartbeat_ms = 100}, 0);
    int64_t before = clock_mono_ms();
    struct loop_stats stats;

    (void)state;
    expect(fd, "head\n:\n\n:\n\n:\n\n:\n\n:\n\n");
    assert_in_range(clock_mono_ms() - before, 400, 2000);
    loop_stats(server.loop, &stats);
    assert_int_equal(stats.unanswered, 0);
    assert_int_equal(stats.latency_count, 0);
    finish(fd, WS_CLOSE_ABNORMAL);
}

/* Nothing is taken any more: given up like a WebSocket that does not answer. */
static void test_stuck_reader(void **state)
{
    struct plan p = {.count = 700, .size = 30000};
    int fd = start(&p, &(struct loop_options){.heartbeat_ms = 300}, 65536);
    int64_t before = clock_mono_ms();

    (void)state;
    for (int i = 0; i < 100; i++) /* that it speaks is no sign that it reads */
        assert_int_equal(send(fd, "noise", 5, MSG_NOSIGNAL), 5);
    server_wait(&server.closed, 1);
    /* What is queued may still be taken for three seconds. */
    assert_in_range(clock_mono_ms() - before, 500, 5000);
    finish(fd, WS_CLOSE_GOING_AWAY);
}

/* A slow reader is not a dead one. */
static void test_slow_but_alive(void **state)
{
    struct plan p = {.count = 300, .size = 30000};
    int fd = start(&p, &(struct loop_options){.heartbeat_ms = 200}, 65536);
    char some[50000];
    size_t left = 300 * 30000;
    int64_t before = clock_mono_ms();

    (void)state;
    while (left > 0) {
        ssize_t n = recv(fd, some, left < sizeof(some) ? left : sizeof(some), 0);

        assert_true(n > 0);
        left -= (size_t)n;
        usleep(8000);
    }
    assert_true(clock_mono_ms() - before > 600);
    assert_int_equal(atomic_load(&server.closed), 0);
    finish(fd, WS_CLOSE_ABNORMAL);
}

static void test_stopping(void **state)
{
    struct plan p = {.text = "head\n"};
    int fd = start(&p, NULL, 0);
    char byte;

    (void)state;
    expect(fd, "head\n");
    loop_stop(server.loop, 2000);
    assert_int_equal(atomic_load(&server.last_code), WS_CLOSE_RESTART);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    finish(fd, WS_CLOSE_RESTART);
}

/* Each allocation fails in turn: all of it arrives, or the connection ends in front of a gap. */
static void test_memory_runs_out(void **state)
{
    bool hit = true;
    int n;

    (void)state;
    for (n = 0; n < 60 && hit; n++) {
        struct plan p = {.text = "head\n", .count = 3, .size = 5000, .last = close_soon};
        const char *at;
        char *got;
        size_t len;
        int fd;

        server_start(&server, NULL);
        p.server = &server;
        mem_fail_after(n);
        {
            int fds[2];

            peer_pair(fds, 0);
            fd = fds[0];
            loop_adopt(server.loop, fds[1], &ops, &p, NULL, 0);
        }
        got = read_all(fd, &len);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (!hit) {
            at = got + 5;
            check_messages(&at, 3, 5000);
        }
        assert_true(len == 0 || strncmp(got, "head\n0", len < 6 ? len : 6) == 0);
        free(got);
        close(fd);
        server_stop(&server);
    }
    assert_in_range(n, 4, 59);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_as_they_are),
        cmocka_unit_test(test_incoming_is_thrown_away),
        cmocka_unit_test(test_partial_sends),
        cmocka_unit_test(test_closing_after_its_end),
        cmocka_unit_test(test_closing_now),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_stuck_reader),
        cmocka_unit_test(test_slow_but_alive),
        cmocka_unit_test(test_stopping),
        cmocka_unit_test(test_memory_runs_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
