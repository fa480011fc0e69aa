#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "harness.h"

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* GET /api/changes. */

#define HOST "Host: localhost\n"
#define EVENTS "Accept: text/event-stream\n"
#define GET(query) "GET /api/changes" query " HTTP/1.1\n" HOST EVENTS
#define STREAM                                                                                     \
    "HTTP/1.1 200 OK\nContent-Type: text/event-stream\nDate: *, * GMT\n"                           \
    "Cache-Control: no-store\nX-Content-Type-Options: nosniff\nX-Accel-Buffering: no\n"            \
    "Connection: close\n\nretry: 2000\nevent: subscribed\ndata: {*}\nid: *:*\n\n"
#define REFUSED(status, code, message)                                                             \
    "HTTP/1.1 " status "\n*Content-Type: application/json\n*{\"error\":{\"code\":\"" code          \
    "\",\"message\":\"" message "\"}}"

static void run(const char *sql)
{
    char request[512];

    snprintf(request, sizeof(request),
        "POST /api/sql HTTP/1.1\n" HOST "Connection: close\nContent-Type: application/json\n"
        "Content-Length: %zu\n\n{\"sql\":\"%s\"}",
        strlen(sql) + 10, sql);
    exchange(request, "HTTP/1.1 200 *");
}

static int open_stream(const char *request)
{
    int fd = client_connect();
    const char *text;

    client_send(fd, request);
    text = client_read(fd, "\nid: ", 5000);
    if (!like(text, "HTTP/1.1 200 OK\nContent-Type: text/event-stream\n*event: subscribed\n*"))
        fail_msg("%s%s", request, text);
    return fd;
}

static void expect(int fd, const char *until, const char *pattern)
{
    const char *text = client_read(fd, until, 5000);

    if (!like(text, pattern))
        fail_msg("got:\n%s\nexpected:\n%s", text, pattern);
}

static void begins_with_a_head(void **state)
{
    int fd;

    (void)state;
    run("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, age INT)");
    fd = client_connect();
    client_send(fd, GET("?table=users&filter=age%3E%3D18") "\n");
    expect(fd, "\n\n\r", STREAM);
    run("INSERT INTO users(name, age) VALUES('Kid', 3), ('Ada', 36)");
    expect(fd, "\r\n", "data: {\"subscriptions\":[\"s1\"],\"id\":\"*:3\",*\"Ada\"*}\nid: *:3\n\n");
    close(fd);
}

static void accepts_what_clients_send(void **state)
{
    static const char *const requests[] = {
        GET("") "\n",
        GET("?") "\n",
        GET("?table=*") "\n",
        GET("?channel=tables") "\n",
        GET("?table=USERS&columns=id,name&events=insert&batch=1&since=0") "\n",
        GET("?last_event_id=") "Last-Event-ID:\n\n",
        GET("") "Connection: keep-alive\nOrigin: http://localhost\n\n",
        "GET /api/changes HTTP/1.0\nAccept: text/event-stream\n\n",
        "GET /api/changes HTTP/1.1\n" HOST "accept: text/html;q=0.5, Text/Event-Stream;q=0.9\n\n",
        "GET /api/changes HTTP/1.1\n" HOST "Accept: */*\n" EVENTS "\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++)
        close(open_stream(requests[i]));
}

static void refuses_what_it_cannot_do(void **state)
{
    (void)state;
    exchange(GET("?table=nope") "\n", REFUSED("404 Not Found", "NOT_FOUND", "no such table: nope"));
    exchange(GET("?table=users&filter=nope%3D1") "\n",
        REFUSED("400 Bad Request", "INVALID_FILTER", "*no column \\\"nope\\\"*"));
    exchange(GET("?table=users&columns=nope") "\n",
        REFUSED("404 Not Found", "NOT_FOUND", "no such column: users.nope"));
    exchange(GET("?filter=a%3D1") "\n", REFUSED("400 *", "INVALID_FILTER", "*name a table*"));
    exchange(GET("?since=x") "Connection: close\n\n",
        REFUSED("400 *", "INVALID_FORMAT", "since must be a seq*"));
    exchange(GET("?since=1") "Last-Event-ID: \"\nConnection: close\n\n",
        REFUSED("400 *", "INVALID_FORMAT", "since must be a seq*"));
    exchange(GET("?x=1") "Connection: close\n\n",
        REFUSED("400 *", "INVALID_FORMAT", "unknown parameter \\\"x\\\"*"));
    exchange(GET("") "Content-Length: 1\n\nx", REFUSED("400 *", "INVALID_FORMAT", "*no body"));
    exchange(GET("?timeout=1") "Connection: close\n\n",
        REFUSED("400 *", "INVALID_FORMAT", "timeout is for a long poll*"));
    exchange(GET("") "Origin: http://evil.com\nConnection: close\n\n", "HTTP/1.1 403 *");
    exchange("GET /api/changes HTTP/1.1\nHost: evil.com\nConnection: close\n" EVENTS "\n",
        "HTTP/1.1 403 *");
    exchange("POST /api/changes HTTP/1.1\n" HOST EVENTS "Connection: close\n\n",
        "HTTP/1.1 405 *\nAllow: GET, HEAD, OPTIONS\n*");
}

static void answers_head(void **state)
{
    (void)state;
    exchange("HEAD /api/changes?table=users HTTP/1.1\n" HOST EVENTS "\n",
        "HTTP/1.1 200 OK\nContent-Type: text/event-stream\nDate: *\nConnection: close\n\n");
    exchange("HEAD /api/changes?x HTTP/1.1\n" HOST EVENTS "Connection: close\n\n",
        "HTTP/1.1 400 *\nConnection: close\n\n");
    exchange("HEAD /api/changes HTTP/1.1\n" HOST "Connection: close\n\n",
        "HTTP/1.1 200 OK\nContent-Type: application/json\nDate: *\nConnection: close\n\n");
    exchange("HEAD /api/changes?batch HTTP/1.1\n" HOST "Connection: close\n\n",
        "HTTP/1.1 400 *\nConnection: close\n\n");
}

#define POLL(query, headers) "GET /api/changes" query " HTTP/1.1\n" HOST headers "\n"
#define POLLED(position, body)                                                                     \
    "HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: *\nDate: *, * GMT\n"         \
    "Cache-Control: no-store\n*Connection: close\nRowtap-Position: *:" position "\n\n" body

/* Without the wish for a stream it is a long poll. */
static void polls(void **state)
{
    (void)state;
    exchange(POLL("?timeout=0", ""), POLLED("*", "[]"));
    exchange(POLL("?timeout=0", "Accept: */*\n"), POLLED("*", "[]"));
    exchange(POLL("?timeout=0", "Accept: text/event-stream;q=0.00\n"), POLLED("*", "[]"));
    exchange(POLL("?channel=tables&since=0&timeout=0", ""),
        POLLED("*", "[{\"id\":\"*\"type\":\"table:created\",*}]"));
    exchange(POLL("?table=nope", ""), REFUSED("404 Not Found", "NOT_FOUND", "no such table: nope"));
    exchange(POLL("?timeout=61", "Connection: close\n"),
        REFUSED("400 *", "INVALID_FORMAT", "timeout is how many seconds*"));
    exchange(POLL("?snapshot", "Connection: close\n"),
        REFUSED("400 *", "INVALID_FORMAT", "snapshot is for a stream*"));
    exchange(POLL("", "Origin: http://evil.com\nConnection: close\n"), "HTTP/1.1 403 *");
}

/* As EventSource does it after a break: the header says more than the URL. */
static void goes_on_after_the_last_event(void **state)
{
    char epoch[32] = "", request[300];
    const char *text;
    int fd = client_connect();

    (void)state;
    client_send(fd, GET("?table=users&since=1") "\n");
    text = client_read(fd, NULL, 500);
    assert_non_null(strstr(text, "\"recovered\":true"));
    assert_int_equal(sscanf(strstr(text, "\nid: "), "\nid: %31[^:]", epoch), 1);
    close(fd);
    snprintf(request, sizeof(request),
        GET("?table=users&since=1&last_event_id=2") "Last-Event-ID: %s:2\n\n", epoch);
    fd = client_connect();
    client_send(fd, request);
    text = client_read(fd, NULL, 300);
    assert_true(like(text, "*\"recovered\":true}}\nid: *:2\n\ndata: {*\"seq\":3,*}\nid: *:3\n\n"));
    assert_null(strstr(text, "\"seq\":1,"));
    close(fd);
    fd = client_connect();
    client_send(fd, GET("?table=users") "Last-Event-ID: gone:2\n\n");
    expect(fd, "\nid: ",
        "*\"recovered\":false}}\n\nevent: resync\ndata: {*\"reason\":\"epoch_changed\"*}}\nid: *");
    close(fd);
}

static void gives_a_snapshot(void **state)
{
    int fd = client_connect();

    (void)state;
    client_send(fd, GET("?table=users&columns=name&filter=age=36&snapshot=1") "\n");
    expect(fd, "\nid: ",
        "HTTP/1.1 200 *event: subscribed\ndata: {*}\n\nevent: snapshot\ndata: {*"
        "\"rows\":[{\"key\":{\"id\":2},\"data\":{\"name\":\"Ada\"}}]},\"last\":true}\nid: *");
    close(fd);
}

static void ends_with_its_table(void **state)
{
    int fd;

    (void)state;
    run("CREATE TABLE short(a, b)");
    fd = open_stream(GET("?table=short&filter=b%3D1") "\n");
    run("ALTER TABLE short DROP COLUMN b");
    expect(fd, NULL, "*event: error\ndata: {*\"INVALID_FILTER\"*}\n\n");
    assert_true(client_at_end(fd, 1000));
    close(fd);
    exchange(GET("?table=short&filter=b%3D1") "\n", "HTTP/1.1 400 *");
}

static void costs_no_thread(void **state)
{
    enum { N = 100 };
    int fds[N], threads, files;

    (void)state;
    usleep(300000);
    threads = count_threads();
    files = count_files();
    for (int i = 0; i < N; i++)
        fds[i] = open_stream(GET("?table=users") "\n");
    assert_int_equal(count_threads(), threads);
    exchange("GET /api/ws/status HTTP/1.1\nHost: localhost\nConnection: close\n\n",
        "HTTP/1.1 200 *{\"connectedClients\":100,*");
    for (int i = 0; i < N; i++)
        close(fds[i]);
    for (int i = 0; i < 50 && count_files() > files; i++)
        usleep(100000);
    assert_int_equal(count_files(), files);
}

/* A stream may follow other requests on the same connection, and outlives every time limit. */
static void follows_other_requests(void **state)
{
    int fd = client_connect();

    (void)state;
    client_send(fd, "GET /api/ws/status HTTP/1.1\nHost: localhost\n\n");
    assert_true(like(client_read(fd, "}", 5000), "HTTP/1.1 200 *"));
    client_send(fd, GET("?x=1") "\n");
    assert_true(like(client_read(fd, "}}", 5000), "HTTP/1.1 400 *\nConnection: keep-alive\n*"));
    client_send(fd, GET("?table=users") "\n");
    assert_true(like(client_read(fd, "\nid: ", 5000), "HTTP/1.1 200 *event: subscribed*"));
    assert_false(client_at_end(fd, 6500));
    run("INSERT INTO users(name) VALUES('late')");
    expect(fd, "\nid: ", "data: {*\"late\"*}\nid: *");
    close(fd);
}

/* An EventSource would give up at a 503. */
static void has_clients_come_back_when_full(void **state)
{
    const char *const words[] = {
        "--max-connections", "1", "--origin", "http://page.test", "--heartbeat", "0.2", NULL};
    int fd;

    (void)state;
    harness_restart(words);
    fd = open_stream(GET("?table=users") "Origin: http://page.test\n\n");
    exchange(GET("?table=users") "Origin: http://page.test\n\n",
        "HTTP/1.1 200 OK\n*\nContent-Type: text/event-stream\nContent-Length: 13\n*\n"
        "Cache-Control: no-store\nX-Accel-Buffering: no\nVary: Origin\n"
        "Access-Control-Allow-Origin: http://page.test\nConnection: close\n\nretry: 5000\n\n");
    exchange(GET("?x=1") "Connection: close\n\n", "HTTP/1.1 400 *");
    assert_true(like(client_read(fd, NULL, 1000), "*:\nid: *:*\n\n:\nid: *:*\n\n*"));
    close(fd);
    usleep(300000);
    close(open_stream(GET("?table=users") "\n"));
    harness_restart(NULL);
}

static void ends_when_the_server_stops(void **state)
{
    int fd = open_stream(GET("?table=users") "\n");

    (void)state;
    harness_restart(NULL);
    client_read(fd, NULL, 200);
    assert_true(client_at_end(fd, 1000));
    close(fd);
}

/* Each allocation on the way fails in turn: there is a stream, or word to come back, or an end. */
static void survives_without_memory(void **state)
{
    bool hit = true;
    int n;

    (void)state;
    for (n = 0; hit && n < 200; n++) {
        int fd = client_connect();
        const char *text;

        mem_fail_after(n);
        client_send(fd, GET("?table=users&filter=age%3D1&columns=id") "Last-Event-ID: e:1\n\n");
        text = client_read(fd, "\nid: ", 1000);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (!like(text, "HTTP/1.1 200 OK\n*event: subscribed\n*event: resync\n*") &&
            !(hit && (!*text || strstr(text, "retry: 5000") || strstr(text, "HTTP/1.1 5"))))
            fail_msg("after %d: %s", n, text);
        close(fd);
    }
    assert_in_range(n, 10, 199);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins_with_a_head),
        cmocka_unit_test(accepts_what_clients_send),
        cmocka_unit_test(refuses_what_it_cannot_do),
        cmocka_unit_test(answers_head),
        cmocka_unit_test(polls),
        cmocka_unit_test(goes_on_after_the_last_event),
        cmocka_unit_test(gives_a_snapshot),
        cmocka_unit_test(ends_with_its_table),
        cmocka_unit_test(costs_no_thread),
        cmocka_unit_test(follows_other_requests),
        cmocka_unit_test(has_clients_come_back_when_full),
        cmocka_unit_test(ends_when_the_server_stops),
        cmocka_unit_test(survives_without_memory),
    };

    return cmocka_run_group_tests(tests, harness_start, harness_stop);
}
