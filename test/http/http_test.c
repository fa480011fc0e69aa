#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mem.h"
#include "harness.h"

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOST "Host: localhost\nConnection: close\n"
#define JSON "Content-Type: application/json\n"

static void tells_its_health(void **state)
{
    (void)state;
    exchange("GET /health HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 200 OK\nDate: *, * GMT\nContent-Type: application/json\nContent-Length: *\n"
        "X-Content-Type-Options: nosniff\nCache-Control: no-store\nConnection: close\n\n"
        "{\"status\":\"ok\",\"connectedClients\":0,\"uptime\":*,\"version\":\"*\",\"database\":{"
        "\"path\":\"*test.db\",\"journalMode\":\"wal\",\"externalWrites\":true,\"seq\":*,"
        "\"epoch\":\"*\"},\"history\":{\"bytes\":*,\"firstSeq\":*}}");
    exchange("HEAD /health HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 200 OK\n*\nContent-Type: application/json\nContent-Length: 2*\nConnection: "
        "close\n\n");
    exchange("GET /api/ws/status HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 200 OK\n*\n\n{\"connectedClients\":0,\"uptime\":*}");
    exchange("GET /api/websocket/health HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 200 "
        "OK\n*\n\n{\"status\":\"ok\",*\"activeConnections\":0,\"healthyConnections\":0,"
        "\"unhealthyConnections\":0,\"averageLatency\":0*,\"compression\":*}");
    exchange("GET /health?x=1 HTTP/1.1\n" HOST "\n", "HTTP/1.1 200 OK\n*");
    exchange("GET http://localhost/health HTTP/1.0\nHost: localhost\n\n", "*");
}

#define post(body, pattern) post_at(body, pattern, __FILE__, __LINE__)
static void post_at(const char *body, const char *pattern, const char *file, int line)
{
    char request[512];

    snprintf(request, sizeof(request),
        "POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: %zu\n\n%s", strlen(body), body);
    exchange_at(request, pattern, file, line);
}

static void runs_sql(void **state)
{
    (void)state;
    post("{\"sql\":\"CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT NOT NULL)\"}",
        "HTTP/1.1 200 OK\n*\n\n{*\"seq\":*}");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "Transfer-Encoding: chunked\n\n"
             "1c\n{\"sql\":\"INSERT INTO notes VA\n26\nLUES(?,?)\",\"params\":[9007199254740993,\n"
             "6\n\"é\"]}\n0\n\n",
        "HTTP/1.1 200 OK\n*\"changes\":1,\"lastInsertRowid\":9007199254740993,*");
    exchange("POST /api/sql HTTP/1.1\n" HOST "content-type: Application/JSON; charset=utf-8\n"
             "Content-Length: 29\n\n{\"sql\":\"SELECT * FROM notes\"}",
        "HTTP/1.1 200 "
        "OK\n*\n\n{\"columns\":[\"id\",\"title\"],\"rows\":[[9007199254740993,\"é\"]],*}");
    post("{\"sql\":\"SELEC 1\"}",
        "HTTP/1.1 400 Bad Request\n*\n\n{\"error\":{\"code\":\"SQL_ERROR\",\"message\":\"near "
        "\\\"SELEC\\\": syntax error\",\"sqliteCode\":1,\"offset\":0*}}");
    post("{\"sql\":\"ATTACH 'x.db' AS x\"}",
        "HTTP/1.1 403 Forbidden\n*\n\n{\"error\":{\"code\":\"FORBIDDEN\",*}}");
    post("{}",
        "HTTP/1.1 400 Bad Request\n*{\"error\":{\"code\":\"INVALID_FORMAT\",\"message\":\"sql is "
        "missing\"}}");
    post("{", "HTTP/1.1 400 Bad Request\n*the body is not JSON: line 1 column 1: *");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "\n",
        "HTTP/1.1 400 Bad Request\n*the body is not JSON: *");
    exchange("POST /api/sql HTTP/1.1\n" HOST "Content-Length: 2\n\n{}",
        "HTTP/1.1 415 Unsupported Media Type\n*send the body as Content-Type: application/json*");
}

static void shows_tables(void **state)
{
    (void)state;
    exchange("GET /api/tables HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 200 OK\n*\n\n{\"tables\":[{\"name\":\"notes\",*}]}");
    exchange("GET /api/tables/n%4ftes HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 200 OK\n*\n\n{\"name\":\"notes\",*\"columns\":[{\"name\":\"id\",*");
    exchange("GET /api/tables/nope HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 404 Not Found\n*{\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"no such table: "
        "nope\"}}");
    exchange("GET /api/tables/a%2 HTTP/1.1\n" HOST "\n", "HTTP/1.1 400 Bad Request\n*");
    exchange("GET /api/tables/a%00 HTTP/1.1\n" HOST "\n", "HTTP/1.1 404 Not Found\n*");
    exchange("GET /api/tables/sqlite_schema HTTP/1.1\n" HOST "\n", "HTTP/1.1 404 Not Found\n*");
}

static void serves_the_console(void **state)
{
    (void)state;
    exchange("GET / HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 200 OK\n*\nContent-Type: text/html; charset=utf-8\n*\n"
        "Content-Security-Policy: default-src 'none';*\n\n<!doctype html>*");
    exchange("GET /rowtap.js HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 200 OK\n*\nContent-Type: text/javascript; charset=utf-8\n*");
    exchange("GET /../etc/passwd HTTP/1.1\n" HOST "\n", "HTTP/1.1 404 Not Found\n*");
    exchange("GET //etc/passwd HTTP/1.1\n" HOST "\n", "HTTP/1.1 404 Not Found\n*");
}

static void knows_its_methods(void **state)
{
    (void)state;
    exchange("GET /nope HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 404 Not Found\n*{\"error\":{\"code\":\"NOT_FOUND\",*}}");
    exchange("GET /api/sql HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 405 Method Not Allowed\n*\nAllow: POST, OPTIONS\n*\n\n{\"error\":*}");
    exchange("DELETE /health HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 405 Method Not Allowed\n*\nAllow: GET, HEAD, OPTIONS\n*");
    exchange("POST /ws HTTP/1.1\n" HOST "Content-Length: 0\n\n",
        "HTTP/1.1 405 Method Not Allowed\n*\nAllow: GET, OPTIONS\n*");
    exchange("OPTIONS /api/sql HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 200 OK\n*\nAllow: POST, OPTIONS\nConnection: close\n\n");
    exchange("BREW /health HTTP/1.1\n" HOST "\n", "HTTP/1.1 501 Not Implemented\n*");
    exchange("OPTIONS * HTTP/1.1\n" HOST "\n",
        "HTTP/1.1 200 OK\n*\nContent-Length: 0\n*Connection: close\n\n");
    exchange("GET * HTTP/1.1\n" HOST "\n", "HTTP/1.1 400 Bad Request\n*");
}

static void guards_against_other_sites(void **state)
{
    (void)state;
    exchange("GET /health HTTP/1.1\nHost: evil.com\nConnection: close\n\n",
        "HTTP/1.1 403 Forbidden\n*{\"error\":{\"code\":\"FORBIDDEN\",\"message\":\"this server "
        "does "
        "not answer to the name \\\"evil.com\\\"; if it should, start it with --origin "
        "http://evil.com\"}}");
    exchange("GET http://evil.com/health HTTP/1.1\n" HOST "\n", "HTTP/1.1 421 *");
    exchange("GET /api/tables HTTP/1.1\n" HOST "Origin: http://evil.com\n\n",
        "HTTP/1.1 403 Forbidden\n*pages of http://evil.com may not use this server*");
    exchange("GET /api/tables HTTP/1.1\n" HOST "Origin: null\n\n", "HTTP/1.1 403 Forbidden\n*");
    exchange("GET /api/tables HTTP/1.1\n" HOST "Origin: http://localhost\nOrigin: http://evil\n\n",
        "HTTP/1.1 403 Forbidden\n*");
    exchange(
        "GET /api/tables HTTP/1.1\n" HOST "Origin: http://localhost\n\n", "HTTP/1.1 200 OK\n*");
    exchange("GET /health HTTP/1.1\nHost: localhost\nHost: evil.com\n\n",
        "HTTP/1.1 400 Bad Request\n*more than one Host header*");
    exchange("GET /health HTTP/1.1\n\n", "HTTP/1.1 400 Bad Request\n*the Host header is missing*");
}

static void lets_listed_origins_in(void **state)
{
    const char *const words[] = {"--origin", "http://app.test:3000", NULL};

    (void)state;
    harness_restart(words);
    exchange("GET /api/tables HTTP/1.1\n" HOST "Origin: http://app.test:3000\n\n",
        "HTTP/1.1 200 OK\n*\nVary: Origin\nAccess-Control-Allow-Origin: http://app.test:3000\n*");
    exchange("OPTIONS /api/sql HTTP/1.1\n" HOST "Origin: http://app.test:3000\n"
             "Access-Control-Request-Method: POST\n\n",
        "HTTP/1.1 200 OK\n*\nAccess-Control-Allow-Methods: POST, OPTIONS\n"
        "Access-Control-Allow-Headers: Content-Type, Authorization, Last-Event-ID\n*");
    exchange("GET /api/tables HTTP/1.1\n" HOST "Origin: http://app.test\n\n",
        "HTTP/1.1 403 Forbidden\n*");
    exchange("GET /health HTTP/1.1\nHost: app.test\nConnection: close\n\n", "HTTP/1.1 200 OK\n*");
    harness_restart(NULL);
}

static void refuses_ambiguous_heads(void **state)
{
    struct buf head = {0};

    (void)state;
    exchange("GET /health HTTP/1.1\nHost: localhost\n folded: x\nContent-Length: 5\n\n",
        "HTTP/1.1 400 Bad Request\n*a header line is malformed*");
    exchange("GET /health HTTP/1.1\nHost: localhost\nna\xc3\xafve: x\n\n",
        "HTTP/1.1 400 Bad Request\n*");
    exchange("GET /health HTTP/1.1\n Host: localhost\n\n",
        "HTTP/1.1 400 Bad Request\n*the request line is malformed*");
    exchange("GET  /health HTTP/1.1\nHost: localhost\n\n",
        "HTTP/1.1 400 Bad Request\n*the request line is malformed*");
    exchange("GET /health?a=b HTTP/1.1\nHost: localhost  \nConnection: close \n\n",
        "HTTP/1.1 200 OK\n*");
    exchange("GET /health HTTP/1.1\nHost : localhost\n\n",
        "HTTP/1.1 400 Bad Request\n*a header's name is followed by a space*");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 2\nContent-Length: 2\n\n{}",
        "HTTP/1.1 400 Bad Request\n*more than one Content-Length header*");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 2, 2\n\n{}",
        "HTTP/1.1 400 Bad Request\n*Content-Length is not a number*");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: +2\n\n{}",
        "HTTP/1.1 400 Bad Request\n*Content-Length is not a number*");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: -2\n\n{}",
        "HTTP/1.1 400 Bad Request\n*");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 99999999999999999999\n\n{}",
        "HTTP/1.1 400 Bad Request\n*");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON
             "Content-Length: 2\nTransfer-Encoding: chunked\n\n{}",
        "HTTP/1.1 400 Bad Request\n*exclude each other*");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "Transfer-Encoding: gzip, chunked\n\n",
        "HTTP/1.1 400 Bad Request\n*");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "Transfer-Encoding: chunked\n\nzz\n",
        "HTTP/1.1 400 Bad Request\n*the chunked body is malformed*");
    exchange("GET /health HTTP/2.0\n" HOST "\n", "HTTP/1.1 505 *");
    exchange("nonsense\n\n", "HTTP/1.1 400 Bad Request\n*");
    exchange("\x16\x03\x01\x02\n\n", "HTTP/1.1 400 Bad Request\n*");
    buf_puts(&head, "GET /health HTTP/1.1\nHost: localhost\n");
    for (int i = 0; i < 80; i++)
        buf_printf(&head, "X-%d: y\n", i);
    buf_puts(&head, "\n");
    exchange(buf_text(&head), "HTTP/1.1 431 *too many header lines*");
    buf_reset(&head);
    buf_puts(&head, "GET /health HTTP/1.1\nHost: localhost\nX: ");
    for (int i = 0; i < 20000; i++)
        buf_putc(&head, 'x');
    buf_puts(&head, "\n\n");
    exchange(buf_text(&head), "HTTP/1.1 431 *larger than 16384 bytes*");
    buf_fini(&head);
}

static void bounds_bodies(void **state)
{
    const char *const words[] = {"--max-body", "2KiB", NULL};
    struct buf text = {0};

    (void)state;
    harness_restart(words);
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 1000000\n"
             "Expect: 100-continue\n\n",
        "HTTP/1.1 413 *{\"error\":{\"code\":\"TOO_LARGE\",\"message\":\"the body is larger than "
        "2048 bytes; send less at once or raise --max-body\"}}");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 17\n"
             "Expect: 100-continue\n\n{\"sql\":\"SELEC 1\"}",
        "HTTP/1.1 100 Continue\n\nHTTP/1.1 400 Bad Request\n*SQL_ERROR*");
    exchange("POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 17\nExpect: gold\n\n",
        "HTTP/1.1 417 *");
    buf_puts(&text, "POST /api/sql HTTP/1.1\n" HOST JSON "Transfer-Encoding: chunked\n\n");
    for (int i = 0; i < 40; i++)
        buf_printf(&text, "40\n%064d\n", i);
    buf_puts(&text, "0\n\n");
    exchange(buf_text(&text), "HTTP/1.1 413 *TOO_LARGE*");
    buf_reset(&text);
    /* All of it is sent before the answer is read: the answer must survive that. */
    buf_puts(&text, "POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 3000000\n\n");
    for (int i = 0; i < 3000000; i++)
        buf_putc(&text, ' ');
    exchange(buf_text(&text), "HTTP/1.1 413 *TOO_LARGE*");
    buf_fini(&text);
    harness_restart(NULL);
}

static void serves_several_requests(void **state)
{
    int fd = client_connect();
    const char *text;

    (void)state;
    for (int i = 0; i < 3; i++) {
        client_send(fd, "GET /api/ws/status HTTP/1.1\nHost: localhost\n\n");
        text = client_read(fd, "}", 5000);
        assert_true(like(text, "HTTP/1.1 200 OK\n*\nConnection: keep-alive\n*\n\n{*}"));
    }
    client_send(fd, "POST /api/sql HTTP/1.1\nHost: localhost\n" JSON "Content-Length: 17\n\n"
                    "{\"sql\":\"SELEC 1\"}"
                    "GET /api/ws/status HTTP/1.1\nHost: localhost\n\n"
                    "GET /nope HTTP/1.1\nHost: localhost\nConnection: close\n\n");
    text = client_read(fd, NULL, 5000);
    assert_true(like(text, "HTTP/1.1 400 *HTTP/1.1 200 *HTTP/1.1 404 *\nConnection: close\n*"));
    close(fd);
    /* A body that nobody asked for does not become a request. */
    exchange("GET /health HTTP/1.1\nHost: localhost\nContent-Length: 40\n\n"
             "GET /nope HTTP/1.1\nHost: localhost\n\n",
        "HTTP/1.1 200 OK\n*\nConnection: close\n*}}");
    exchange(
        "GET /health HTTP/1.0\nHost: localhost\n\n", "HTTP/1.1 200 OK\n*\nConnection: close\n*");
}

/* A failed allocation costs a request or a connection, never the server, and never goes unsaid. */
static void sweep(const char *request)
{
    bool done = false;

    for (long n = 0; !done && n < 1000; n++) {
        int fd = client_connect();
        const char *text;

        mem_fail_after(n);
        client_send(fd, request);
        text = client_read(fd, "\"maxMessageSize\"", 3000);
        done = !mem_fail_hit();
        mem_fail_after(-1);
        if (*text && !like(text, "HTTP/1.1 *"))
            fail_msg("allocation %ld of %s\n%s", n, request, text);
        if (done && !like(text, "HTTP/1.1 *00 *") && !like(text, "HTTP/1.1 101 *") &&
            !like(text, "HTTP/1.1 404 *") && !like(text, "HTTP/1.1 401 *"))
            fail_msg("without a failure: %s\n%s", request, text);
        close(fd);
    }
    assert_true(done);
}

static void survives_lack_of_memory(void **state)
{
    static const char *const requests[] = {
        "GET /health HTTP/1.1\n" HOST "\n",
        "GET /api/tables HTTP/1.1\n" HOST "\n",
        "GET /api/tables/n%6ftes HTTP/1.1\n" HOST "\n",
        "GET /api/websocket/health HTTP/1.1\n" HOST "\n",
        "OPTIONS /api/sql HTTP/1.1\n" HOST "\n",
        "GET /nope HTTP/1.1\n" HOST "\n",
        ("POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 33\n\n"
         "{\"sql\":\"SELECT ?\",\"params\":[\"a\"]}"),
        ("POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 57\n\n"
         "{\"sql\":\"INSERT INTO notes(title) VALUES(?)\",\"params\":[1]}"),
        ("GET /ws HTTP/1.1\nHost: localhost\nUpgrade: websocket\nConnection: Upgrade\n"
         "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++)
        sweep(requests[i]);
    exchange("GET /health HTTP/1.1\n" HOST "\n", "HTTP/1.1 200 OK\n*");
}

/* Of SECRET: {"sub":"ann","role":"reader"} */
#define SECRET "the secret of this test has some forty characters"
#define TOKEN                                                                                      \
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4iLCJyb2xlIjoicmV"                                         \
    "hZGVyIn0.pTv2aIcv1bD5lu-WbNCtmzKDUx-EzPM9Ctrloenqgko"

/* The same where everybody shows a token and has bounds; in the end nobody is still counted. */
static void tokens_and_limits_survive_lack_of_memory(void **state)
{
    static const char *const requests[] = {
        "GET /api/tables?token=" TOKEN " HTTP/1.1\n" HOST "X-Forwarded-For: 192.0.2.1\n\n",
        "GET /api/tables HTTP/1.1\n" HOST "Authorization: Bearer " TOKEN "\n\n",
        "GET /api/tables HTTP/1.1\n" HOST "Authorization: Bearer " TOKEN "x\n\n",
        ("POST /api/sql HTTP/1.1\n" HOST JSON "Authorization: Bearer " TOKEN
         "\nContent-Length: 18\n\n{\"sql\":\"SELECT 1\"}"),
        ("GET /ws HTTP/1.1\nHost: localhost\nUpgrade: websocket\nConnection: Upgrade\n"
         "Authorization: Bearer " TOKEN
         "\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n"),
        ("GET /api/changes?timeout=0 HTTP/1.1\n" HOST "Authorization: Bearer " TOKEN "\n\n"),
    };
    char path[] = "/tmp/rowtap-secret-XXXXXX";
    const char *const words[] = {"--limit-loopback", "--trusted-proxy", "127.0.0.1",
        "--max-connections-per-address", "5", "--rate", "reader:queries=1000", "--jwt-secret-file",
        path, NULL};
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(write(fd, SECRET, strlen(SECRET)), (ssize_t)strlen(SECRET));
    close(fd);
    harness_restart(words);
    for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++)
        sweep(requests[i]);
    /* Had five failures kept their place, none would be left. */
    for (int i = 0; i < 5; i++)
        exchange("GET /api/changes?timeout=0 HTTP/1.1\n" HOST "Authorization: Bearer " TOKEN "\n\n",
            "HTTP/1.1 200 OK\n*");
    harness_restart(NULL);
    unlink(path);
}

static void stops_accepting(void **state)
{
    (void)state;
    /* Stopping with an idle kept connection and one in the middle of its head is quick. */
    for (int i = 0; i < 2; i++) {
        int idle = client_connect(), half = client_connect();

        client_send(idle, "GET /api/ws/status HTTP/1.1\nHost: localhost\n\n");
        assert_true(like(client_read(idle, "}", 5000), "HTTP/1.1 200 OK\n*"));
        client_send(half, "GET /hea");
        usleep(200000); /* a worker has taken it: one still in civetweb's queue ends with the
                           process */
        harness_restart(NULL);
        assert_true(client_at_end(idle, 2000));
        assert_true(client_at_end(half, 2000));
        close(idle);
        close(half);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_its_health),
        cmocka_unit_test(runs_sql),
        cmocka_unit_test(shows_tables),
        cmocka_unit_test(serves_the_console),
        cmocka_unit_test(knows_its_methods),
        cmocka_unit_test(guards_against_other_sites),
        cmocka_unit_test(lets_listed_origins_in),
        cmocka_unit_test(refuses_ambiguous_heads),
        cmocka_unit_test(bounds_bodies),
        cmocka_unit_test(serves_several_requests),
        cmocka_unit_test(survives_lack_of_memory),
        cmocka_unit_test(tokens_and_limits_survive_lack_of_memory),
        cmocka_unit_test(stops_accepting),
    };

    return cmocka_run_group_tests(tests, harness_start, harness_stop);
}
