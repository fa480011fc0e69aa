#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "harness.h"
#include "http/peer.h"

#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Requests that follow on a kept connection with the same head: http/again.h. */

#define HEAD                                                                                       \
    "POST /api/sql HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: "
#define SELECT_ONE HEAD "18\n\n{\"sql\":\"SELECT 1\"}"

static void ask(int fd, const char *sql)
{
    struct buf text = {0};

    buf_printf(&text, HEAD "%zu\n\n{\"sql\":\"%s\"}", strlen(sql) + strlen("{\"sql\":\"\"}"), sql);
    client_send(fd, buf_text(&text));
    buf_fini(&text);
}

static void answered(int fd, const char *pattern)
{
    const char *text = client_read(fd, "}", 5000);

    if (!like(text, pattern))
        fail_msg("not like %s:\n%.2000s", pattern, text);
}

/* civetweb's own sockets never wait in the kernel. */
static bool waits_outside_civetweb(int fd)
{
    struct sockaddr_in self;
    socklen_t len = sizeof(self);
    struct peer p = {.address = "127.0.0.1", .server_port = harness_port};
    int flags = 0;

    assert_int_equal(getsockname(fd, (struct sockaddr *)&self, &len), 0);
    p.port = ntohs(self.sin_port);
    for (int i = 0; i < 100; i++) {
        flags = fcntl(peer_find(&p), F_GETFL);
        if (!(flags & O_NONBLOCK))
            return true;
        usleep(2000);
    }
    return false;
}

#define KEPT 6  /* requests after which a connection's thread waits outside civetweb */
#define LENT 24 /* after which it has lent it: http/swift.h */
static int requests = KEPT;

static int warm(void)
{
    int fd = client_connect();

    for (int i = 0; i < requests; i++) {
        ask(fd, "SELECT 1");
        answered(fd, "HTTP/1.1 200 *[[1]]*");
    }
    assert_true(waits_outside_civetweb(fd));
    return fd;
}

static void serves_other_bodies(void **state)
{
    int fd = warm();
    char sql[64], pattern[64];

    (void)state;
    for (int64_t i = 1; i < INT64_C(10000000000000); i *= 7) {
        snprintf(sql, sizeof(sql), "SELECT %lld", (long long)i);
        snprintf(pattern, sizeof(pattern), "HTTP/1.1 200 *[[%lld]]*", (long long)i);
        ask(fd, sql);
        answered(fd, pattern);
    }
    ask(fd, "CREATE TABLE IF NOT EXISTS t(a)");
    answered(fd, "HTTP/1.1 200 *");
    ask(fd, "INSERT INTO t VALUES (7)");
    answered(fd, "HTTP/1.1 200 *\"changes\":1,*");
    ask(fd, "SELEC 1");
    assert_true(like(client_read(fd, "}}", 5000), "HTTP/1.1 400 *syntax error*"));
    ask(fd, "SELECT a FROM t");
    answered(fd, "HTTP/1.1 200 *[[7]]*");
    ask(fd, "DROP TABLE t");
    answered(fd, "HTTP/1.1 200 *");
    assert_true(waits_outside_civetweb(fd));
    close(fd);
}

/* The status, and what the body says apart from how long it took. */
static void outcome(struct buf *out, const char *text)
{
    const char *body = strstr(text, "\n\n"), *end = body ? strstr(body, "\"durationMs\"") : NULL;

    buf_put(out, text, strcspn(text, "\n"));
    if (body)
        buf_put(out, body, end ? (size_t)(end - body) : strlen(body));
}

static void outcome_on(struct buf *out, int fd, const char *request)
{
    client_send(fd, request);
    client_finish(fd);
    outcome(out, client_read(fd, NULL, 10000));
    close(fd);
}

/* It is answered as on a new connection. */
static void same_as_new(const char *request)
{
    struct buf fresh = {0}, kept = {0};

    outcome_on(&fresh, client_connect(), request);
    outcome_on(&kept, warm(), request);
    assert_true(fresh.len > 12);
    if (strcmp(buf_text(&fresh), buf_text(&kept)) != 0)
        fail_msg("%s\nnew:  %s\nkept: %s", request, fresh.data, kept.data);
    buf_fini(&fresh);
    buf_fini(&kept);
}

static void answers_as_on_a_new_connection(void **state)
{
    (void)state;
    same_as_new(SELECT_ONE);
    same_as_new(HEAD "0\n\n");
    same_as_new(HEAD "018\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new(HEAD "+18\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new(HEAD "-1\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new(HEAD "18 \n\n{\"sql\":\"SELECT 1\"}");
    same_as_new(HEAD "18\nX: y\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new(HEAD "18\nContent-Length: 18\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new(HEAD "18\nTransfer-Encoding: chunked\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new(HEAD "20\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new(HEAD "9999999999\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new(HEAD "99999999999999999999\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new(HEAD "\n\n");
    same_as_new("POST /api/sql HTTP/1.1\nHost: evil.example\nContent-Type: application/json\n"
                "Content-Length: 18\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new("POST /api/sqk HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
                "Content-Length: 18\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new("POST /api/sql HTTP/1.0\nHost: localhost\nContent-Type: application/json\n"
                "Content-Length: 18\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new("POST /api/sql HTTP/1.1\nHost: localhost\nContent-Type: text/plain\n"
                "Content-Length: 18\n\n{\"sql\":\"SELECT 1\"}");
    same_as_new("GET /api/tables HTTP/1.1\nHost: localhost\n\n");
    same_as_new("\n\nPOST");
}

static void leaves_other_heads_to_civetweb(void **state)
{
    int fd = warm();

    (void)state;
    client_send(fd, "GET /api/tables HTTP/1.1\nHost: localhost\n\n");
    assert_true(like(client_read(fd, "]}", 5000), "HTTP/1.1 200 *\"tables\":[*"));
    ask(fd, "SELECT 2");
    answered(fd, "HTTP/1.1 200 *[[2]]*");
    assert_true(waits_outside_civetweb(fd));
    client_send(fd, "GET /nope HTTP/1.1\nHost: localhost\n\n");
    assert_true(like(client_read(fd, "}}", 5000), "HTTP/1.1 404 *"));
    for (int i = 0; i < 3; i++) {
        ask(fd, "SELECT 3");
        answered(fd, "HTTP/1.1 200 *[[3]]*");
    }
    assert_false(waits_outside_civetweb(fd));
    client_send(fd, "GET /ws HTTP/1.1\nHost: localhost\nConnection: Upgrade\nUpgrade: websocket\n"
                    "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n");
    assert_true(like(client_read(fd, "connection:ack", 5000), "HTTP/1.1 101 *"));
    close(fd);
}

/* A WebSocket begins on a connection whose requests were read here. */
static void gives_the_connection_to_a_loop(void **state)
{
    int fd = warm();

    (void)state;
    client_send(fd, "GET /ws HTTP/1.1\nHost: localhost\nConnection: Upgrade\nUpgrade: websocket\n"
                    "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n");
    assert_true(like(client_read(fd, "connection:ack", 5000), "HTTP/1.1 101 *"));
    close(fd);
}

static void serves_what_comes_together_or_in_pieces(void **state)
{
    static const char text[] = SELECT_ONE;
    int fd = warm();

    (void)state;
    client_send(fd, SELECT_ONE SELECT_ONE SELECT_ONE);
    client_finish(fd);
    assert_true(like(client_read(fd, NULL, 5000),
        "HTTP/1.1 200 *[[1]]*}HTTP/1.1 200 *[[1]]*}HTTP/1.1 200 *[[1]]*}"));
    close(fd);
    fd = warm();
    assert_true(waits_outside_civetweb(fd));
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        client_send(fd, (char[]){text[i], '\0'});
        usleep(200);
    }
    answered(fd, "HTTP/1.1 200 *[[1]]*");
    ask(fd, "SELECT 4");
    answered(fd, "HTTP/1.1 200 *[[4]]*");
    close(fd);
}

/* The socket does not take all of it at once. */
static void sends_long_answers(void **state)
{
    int fd = warm();
    size_t got = 0;
    char scrap[65536];

    (void)state;
    ask(fd, "SELECT hex(zeroblob(6000000))");
    usleep(300000);
    while (got < 12000000) {
        ssize_t n = recv(fd, scrap, sizeof(scrap), 0);

        assert_true(n > 0);
        got += (size_t)n;
    }
    usleep(20000);
    while (client_readable(fd))
        assert_true(recv(fd, scrap, sizeof(scrap), 0) > 0);
    for (int i = 0; i < 3; i++) {
        ask(fd, "SELECT 5");
        answered(fd, "HTTP/1.1 200 *[[5]]*");
    }
    close(fd);
}

static void frees_workers_that_wait(void **state)
{
    const char *const words[] = {"--http-threads", "4", NULL};
    int idle[3];
    int64_t start;

    (void)state;
    harness_restart(words);
    for (int i = 0; i < 3; i++)
        idle[i] = warm();
    start = clock_mono_ms();
    for (int i = 0; i < 3; i++)
        exchange("GET /api/ws/status HTTP/1.1\nHost: localhost\nConnection: close\n\n",
            "HTTP/1.1 200 *");
    assert_true(clock_mono_ms() - start < 3000);
    for (int i = 0; i < 3; i++)
        close(idle[i]);
    harness_restart(NULL);
}

static void ends_with_the_server(void **state)
{
    int fd = warm();
    int64_t start = clock_mono_ms();

    (void)state;
    harness_restart(NULL);
    assert_true(clock_mono_ms() - start < 3000);
    assert_true(client_at_end(fd, 1000));
    close(fd);
}

static void ends_silent_connections(void **state)
{
    int fd = warm();
    int64_t start = clock_mono_ms();

    (void)state;
    assert_true(client_at_end(fd, 9000));
    assert_in_range(clock_mono_ms() - start, 4000, 8000);
    close(fd);
}

static int lend(void **state)
{
    requests = LENT;
    return harness_start(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_other_bodies),
        cmocka_unit_test(answers_as_on_a_new_connection),
        cmocka_unit_test(leaves_other_heads_to_civetweb),
        cmocka_unit_test(gives_the_connection_to_a_loop),
        cmocka_unit_test(serves_what_comes_together_or_in_pieces),
        cmocka_unit_test(sends_long_answers),
        cmocka_unit_test(frees_workers_that_wait),
        cmocka_unit_test(ends_with_the_server),
        cmocka_unit_test(ends_silent_connections),
    };
    int failed = cmocka_run_group_tests_name("kept", tests, harness_start, harness_stop);

    return failed + cmocka_run_group_tests_name("lent", tests, lend, harness_stop);
}
