#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "peer.h"

#include <string.h>
#include <unistd.h>

static struct server server;

static struct peer *start(const struct loop_options *options)
{
    server_start(&server, options);
    return peer_new(&server);
}

static void finish(struct peer *p, int code)
{
    peer_free(p);
    server_wait(&server.closed, 1);
    assert_int_equal(atomic_load(&server.last_code), code);
    server_stop(&server);
}

static void test_unanswered(void **state)
{
    struct peer *p = start(&(struct loop_options){.heartbeat_ms = 300});
    int64_t before = clock_mono_ms();

    (void)state;
    peer_expect(p, "ping");
    peer_expect(p, "close 1001 no answer to a ping");
    assert_in_range(clock_mono_ms() - before, 500, 1200);
    peer_expect(p, "end");
    finish(p, 1001);
}

static void test_answered(void **state)
{
    struct peer *p = start(&(struct loop_options){.heartbeat_ms = 300});
    struct loop_stats stats;
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        peer_expect(p, "ping");
        peer_send(p, 0x8a, p->data + p->at - 8, 8);
    }
    peer_expect(p, "ping");
    loop_stats(server.loop, &stats);
    assert_int_equal(stats.latency_count, 1);
    assert_in_range(stats.latency_total_us, 1, 290000);
    for (i = 0; i < 100 && stats.unanswered == 0; i++) {
        usleep(3000);
        loop_stats(server.loop, &stats);
    }
    assert_int_equal(stats.unanswered, 1);
    peer_text(p, "alive"); /* anything counts as an answer */
    peer_expect(p, "text alive");
    loop_stats(server.loop, &stats);
    assert_int_equal(stats.unanswered, 0);
    peer_expect(p, "ping");
    finish(p, WS_CLOSE_ABNORMAL);
}

/* The ping waits behind much else, for longer than two heartbeats: no reason to give the peer up.
 */
static void test_behind_a_long_queue(void **state)
{
    struct peer *p;
    int i;

    (void)state;
    server_start(&server, &(struct loop_options){.heartbeat_ms = 300});
    p = peer_new_buffered(&server, 65536);
    peer_text(p, "flood 700 30000");
    for (i = 0; i < 700; i++) {
        const char *got = peer_next(p);

        assert_memory_equal(got, "text ", 5);
        usleep(2000);
    }
    peer_expect(p, "ping");
    peer_send(p, 0x8a, p->data + p->at - 8, 8);
    peer_expect(p, "ping");
    finish(p, WS_CLOSE_ABNORMAL);
}

/* Pings and pongs are no messages; a message either way is. */
static void test_idle(void **state)
{
    struct peer *p = start(&(struct loop_options){.heartbeat_ms = 250, .idle_ms = 400});
    int64_t before = clock_mono_ms();

    (void)state;
    for (int i = 0; i < 4; i++) {
        usleep(150000);
        peer_text(p, "alive");
        while (strcmp(peer_next(p), "text alive") != 0)
            peer_send(p, 0x8a, p->data + p->at - 8, 8);
    }
    assert_in_range(clock_mono_ms() - before, 600, 5000);
    before = clock_mono_ms();
    for (;;) {
        const char *got = peer_next(p);

        if (strcmp(got, "ping") != 0) {
            assert_string_equal(got, "close 1001 idle: no message for 400 ms");
            break;
        }
        peer_send(p, 0x8a, p->data + p->at - 8, 8);
    }
    assert_in_range(clock_mono_ms() - before, 390, 1500);
    finish(p, 1001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unanswered),
        cmocka_unit_test(test_answered),
        cmocka_unit_test(test_behind_a_long_queue),
        cmocka_unit_test(test_idle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
