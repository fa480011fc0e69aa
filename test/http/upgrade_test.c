#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "harness.h"

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#define START "GET /ws HTTP/1.1\nHost: localhost\n"
#define UPGRADE "Upgrade: websocket\nConnection: Upgrade\n"
#define VERSION "Sec-WebSocket-Version: 13\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
#define GOOD START UPGRADE VERSION KEY "\n"

/* The example of RFC 6455 section 1.3. */
static void switches_protocols(void **state)
{
    int fd = client_connect();
    const char *text;

    (void)state;
    client_send(fd, GOOD);
    text = client_read(fd, "maxMessageSize", 5000);
    assert_true(like(text, "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\n"
                           "Connection: Upgrade\n"
                           "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n\n"
                           "\x81*\"type\":\"connection:ack\"*"));
    close(fd);
}

static void accepts_what_clients_send(void **state)
{
    static const char *const heads[] = {
        START "upgrade: WebSocket\nconnection: keep-alive, Upgrade\n" VERSION KEY "\n",
        START UPGRADE VERSION KEY "Origin: http://localhost\n\n",
        START UPGRADE VERSION KEY "Content-Length: 0\n\n",
        START UPGRADE VERSION KEY "Sec-WebSocket-Extensions: x-webkit-deflate-frame\n"
                                  "Sec-WebSocket-Protocol: chat, superchat\n\n",
        START UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==  \n\n",
        "GET /ws?token=x HTTP/1.1\nHost: 127.0.0.1:80\n" UPGRADE VERSION KEY "\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
        int fd = client_connect();
        const char *text;

        client_send(fd, heads[i]);
        text = client_read(fd, "\n\r\n", 5000);
        if (!like(text, "HTTP/1.1 101 *"))
            fail_msg("%s%s", heads[i], text);
        /* Nothing was asked for that the server speaks: an unasked answer would fail the client. */
        assert_null(strstr(text, "Sec-WebSocket-Protocol"));
        assert_null(strstr(text, "Sec-WebSocket-Extensions"));
        close(fd);
    }
}

/* Which offers are taken is told in net/extension_test.c. */
static void negotiates_compression(void **state)
{
    static const char answer[] =
        "HTTP/1.1 101 *\nSec-WebSocket-Extensions: permessage-deflate; "
        "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10\n\n*";
    static const char *const heads[] = {
        START UPGRADE VERSION KEY
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\n\n",
        START UPGRADE VERSION KEY
        "sec-websocket-extensions: foo, permessage-deflate; bar\n"
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=\"10\";"
        "client_max_window_bits, permessage-deflate\n\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
        int fd = client_connect();
        const char *text;

        client_send(fd, heads[i]);
        text = client_read(fd, "maxMessageSize", 5000);
        if (!like(text, answer))
            fail_msg("%s%s", heads[i], text);
        close(fd);
    }
}

static void refuses_bad_handshakes(void **state)
{
    (void)state;
    exchange(START UPGRADE VERSION KEY "Sec-WebSocket-Extensions: permessage-deflate;\n\n",
        "HTTP/1.1 400 *Sec-WebSocket-Extensions is not a list of extensions*");
    exchange(START UPGRADE VERSION KEY "Sec-WebSocket-Extensions: permessage-deflate\n"
                                       "Sec-WebSocket-Extensions: foo bar\n\n",
        "HTTP/1.1 400 *Sec-WebSocket-Extensions is not a list of extensions*");
    exchange("GET /ws HTTP/1.1\nHost: localhost\nConnection: close\n\n",
        "HTTP/1.1 426 Upgrade Required\n*\nUpgrade: websocket\nSec-WebSocket-Version: 13\n"
        "Connection: Upgrade, close\n\n{\"error\":*}");
    exchange(START UPGRADE KEY "Sec-WebSocket-Version: 8\n\n",
        "HTTP/1.1 426 *\nSec-WebSocket-Version: 13\n*only WebSocket version spoken here is 13*");
    exchange(START UPGRADE KEY "\n", "HTTP/1.1 426 *\nSec-WebSocket-Version: 13\n*");
    exchange(START UPGRADE KEY VERSION VERSION "\n", "HTTP/1.1 426 *");
    exchange(START UPGRADE VERSION "\n", "HTTP/1.1 400 *exactly one Sec-WebSocket-Key*");
    exchange(START UPGRADE VERSION KEY KEY "\n", "HTTP/1.1 400 *exactly one Sec-WebSocket-Key*");
    exchange(START UPGRADE VERSION "Sec-WebSocket-Key: c2hvcnQ=\n\n",
        "HTTP/1.1 400 *not the base64 of 16 bytes*");
    exchange("GET /ws HTTP/1.0\nHost: localhost\n" UPGRADE VERSION KEY "\n",
        "HTTP/1.1 400 *a WebSocket needs HTTP/1.1*");
    exchange("POST /ws HTTP/1.1\nHost: localhost\n" UPGRADE VERSION KEY "\n",
        "HTTP/1.1 405 *\nAllow: GET, OPTIONS\n*");
    exchange("PUT /ws HTTP/1.1\nHost: localhost\n" UPGRADE VERSION KEY "\n", "HTTP/1.1 405 *");
    exchange(START UPGRADE VERSION KEY "Content-Length: 3\n\nabc", "HTTP/1.1 400 *has no body*");
    exchange(START UPGRADE VERSION KEY "Origin: http://evil.com\n\n", "HTTP/1.1 403 *");
    exchange("GET /ws HTTP/1.1\nHost: evil.com\n" UPGRADE VERSION KEY "\n", "HTTP/1.1 403 *");
    exchange("GET /nope HTTP/1.1\nHost: localhost\n" UPGRADE VERSION KEY "\n", "HTTP/1.1 404 *");
    exchange("GET /health HTTP/1.1\nHost: localhost\n" UPGRADE VERSION KEY "\n",
        "HTTP/1.1 200 *\nConnection: close\n*");
    exchange(START "Upgrade: h2c\nConnection: Upgrade\n\n", "HTTP/1.1 426 *");
    exchange(GOOD "\x81\x82\x01\x01\x01\x01zz",
        "HTTP/1.1 400 *sends nothing more until it has the answer*");
    exchange("GET /api/ws/status HTTP/1.1\nHost: localhost\n\n" GOOD "\x81",
        "HTTP/1.1 200 *HTTP/1.1 400 *sends nothing more until it has the answer*");
}

static void costs_no_thread(void **state)
{
    enum { N = 200 };
    int fds[N], threads, files;

    (void)state;
    threads = count_threads();
    usleep(200000);
    files = count_files();
    for (int i = 0; i < N; i++) {
        fds[i] = client_connect();
        client_send(fds[i], GOOD);
        assert_true(like(client_read(fds[i], "maxMessageSize", 5000), "HTTP/1.1 101 *"));
    }
    assert_int_equal(count_threads(), threads);
    /* Ours and the server's end of each; a worker may still be closing its dead socket. */
    assert_in_range(count_files(), files + 2 * N, files + 2 * N + 2);
    exchange("GET /api/ws/status HTTP/1.1\nHost: localhost\nConnection: close\n\n",
        "HTTP/1.1 200 *{\"connectedClients\":200,*");
    for (int i = 0; i < N; i++)
        close(fds[i]);
    for (int i = 0; i < 50 && count_files() > files; i++)
        usleep(100000);
    assert_int_equal(count_files(), files);
}

static void refuses_when_full(void **state)
{
    const char *const words[] = {"--max-connections", "2", NULL};
    int fds[2];

    (void)state;
    harness_restart(words);
    for (int i = 0; i < 2; i++) {
        fds[i] = client_connect();
        client_send(fds[i], GOOD);
        assert_true(like(client_read(fds[i], "maxMessageSize", 5000), "HTTP/1.1 101 *"));
    }
    exchange(GOOD, "HTTP/1.1 503 *\nRetry-After: 5\n*--max-connections*");
    exchange(START UPGRADE VERSION "\n", "HTTP/1.1 400 *");
    close(fds[0]);
    usleep(300000);
    fds[0] = client_connect();
    client_send(fds[0], GOOD);
    assert_true(like(client_read(fds[0], "maxMessageSize", 5000), "HTTP/1.1 101 *"));
    close(fds[0]);
    close(fds[1]);
    harness_restart(NULL);
}

/* An upgrade may follow other requests on the same connection. */
static void upgrades_a_used_connection(void **state)
{
    int fd = client_connect();

    (void)state;
    client_send(fd, "GET /api/ws/status HTTP/1.1\nHost: localhost\n\n");
    assert_true(like(client_read(fd, "}", 5000), "HTTP/1.1 200 *"));
    client_send(fd, GOOD);
    assert_true(like(client_read(fd, "maxMessageSize", 5000), "HTTP/1.1 101 *"));
    /* It stays open past every time limit of HTTP. */
    assert_false(client_at_end(fd, 6500));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(switches_protocols),
        cmocka_unit_test(accepts_what_clients_send),
        cmocka_unit_test(negotiates_compression),
        cmocka_unit_test(refuses_bad_handshakes),
        cmocka_unit_test(costs_no_thread),
        cmocka_unit_test(refuses_when_full),
        cmocka_unit_test(upgrades_a_used_connection),
    };

    return cmocka_run_group_tests(tests, harness_start, harness_stop);
}
