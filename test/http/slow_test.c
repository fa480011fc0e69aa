#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "harness.h"

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HOST "Host: localhost\n"
#define JSON "Content-Type: application/json\n"
#define STATUS "GET /api/ws/status HTTP/1.1\n" HOST "Connection: close\n\n"

/* Clients that send too little or too slowly are told or closed, and do not hold up the others. */
static void ends_unfinished_requests(void **state)
{
    int silent = client_connect(), head = client_connect(), body = client_connect(),
        chunk = client_connect(), kept = client_connect();
    int64_t start = clock_mono_ms();

    (void)state;
    client_send(head, "GET /health HTTP/1.1\nHost: loc");
    client_send(body, "POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 50\n\n{\"sql\"");
    client_send(
        chunk, "POST /api/sql HTTP/1.1\n" HOST JSON "Transfer-Encoding: chunked\n\n5\n{\"s");
    client_send(kept, "GET /api/ws/status HTTP/1.1\n" HOST "\n");
    assert_true(like(client_read(kept, "}", 5000), "HTTP/1.1 200 *"));
    exchange(STATUS, "HTTP/1.1 200 *");
    assert_true(clock_mono_ms() - start < 2000);

    assert_true(like(client_read(head, NULL, 15000), "HTTP/1.1 408 *head did not arrive in time*"));
    assert_true(like(client_read(body, NULL, 15000), "HTTP/1.1 408 *body did not arrive in time*"));
    assert_true(
        like(client_read(chunk, NULL, 15000), "HTTP/1.1 408 *body did not arrive in time*"));
    assert_true(client_at_end(silent, 5000));
    assert_true(client_at_end(kept, 5000));
    assert_true(clock_mono_ms() - start < 20000);
    close(silent);
    close(head);
    close(body);
    close(chunk);
    close(kept);
}

static void tells_a_short_body(void **state)
{
    int fd = client_connect();

    (void)state;
    client_send(fd, "POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 50\n\n{\"sql\"");
    client_finish(fd);
    assert_true(
        like(client_read(fd, NULL, 5000), "HTTP/1.1 400 *shorter than its Content-Length*"));
    close(fd);
}

/* A byte now and then is no silence; the time for the whole body ends it. */
static void ends_a_dripping_body(void **state)
{
    int fd = client_connect();
    int64_t start = clock_mono_ms();

    (void)state;
    client_send(fd, "POST /api/sql HTTP/1.1\n" HOST JSON "Content-Length: 10000\n\n");
    while (clock_mono_ms() - start < 25000 && !client_readable(fd)) {
        client_send(fd, " ");
        usleep(300000);
    }
    assert_in_range(clock_mono_ms() - start, 5000, 15000);
    close(fd);
}

/* Connections that only wait for a next request give way when all workers are taken. */
static void frees_idle_workers(void **state)
{
    const char *const words[] = {"--http-threads", "4", NULL};
    int idle[4];
    int64_t start;

    (void)state;
    harness_restart(words);
    for (int i = 0; i < 3; i++) {
        idle[i] = client_connect();
        client_send(idle[i], "GET /api/ws/status HTTP/1.1\n" HOST "\n");
        assert_true(
            like(client_read(idle[i], "}", 5000), "HTTP/1.1 200 *\nConnection: keep-alive\n*"));
    }
    /* The fourth takes the last worker and may not keep it. */
    idle[3] = client_connect();
    client_send(idle[3], "GET /api/ws/status HTTP/1.1\n" HOST "\n");
    assert_true(like(client_read(idle[3], NULL, 5000), "HTTP/1.1 200 *\nConnection: close\n*"));
    close(idle[3]);
    /* With a silent one in its place all four are taken, so the idle ones go early. */
    idle[3] = client_connect();
    start = clock_mono_ms();
    exchange(STATUS, "HTTP/1.1 200 *");
    assert_true(clock_mono_ms() - start < 4000);
    for (int i = 0; i < 4; i++)
        close(idle[i]);
    harness_restart(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_unfinished_requests),
        cmocka_unit_test(tells_a_short_body),
        cmocka_unit_test(ends_a_dripping_body),
        cmocka_unit_test(frees_idle_workers),
    };

    return cmocka_run_group_tests(tests, harness_start, harness_stop);
}
