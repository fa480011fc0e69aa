#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "peer.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Notes: who waits for the bytes of a connection is told that they were sent, or never will be. */

static struct server server;

static struct peer *start(const struct loop_options *options, int buffer)
{
    server_start(&server, options);
    return peer_new_buffered(&server, buffer);
}

static void finish(struct peer *p)
{
    peer_free(p);
    server_wait(&server.closed, 1);
    server_stop(&server);
}

static void expect(int sent, int lost)
{
    assert_int_equal(atomic_load(&server.notes_sent), sent);
    assert_int_equal(atomic_load(&server.notes_lost), lost);
}

static void read_messages(struct peer *p, int count)
{
    while (count-- > 0)
        assert_memory_equal(peer_next(p), "text ", 5);
}

static void test_nothing_queued(void **state)
{
    struct peer *p = start(NULL, 0);

    (void)state;
    peer_text(p, "note 0 0");
    server_wait(&server.notes_sent, 1);
    expect(1, 0);
    finish(p);
}

/* Each waits for its own bytes, and is told in order. */
static void test_sent_when_read(void **state)
{
    struct peer *p = start(NULL, 4096);

    (void)state;
    for (int i = 0; i < 3; i++)
        peer_text(p, "note 300 30000");
    server_wait(&server.messages, 3);
    usleep(20000);
    expect(0, 0);
    for (int i = 1; i <= 3; i++) {
        assert_true(atomic_load(&server.notes_sent) < i);
        read_messages(p, 300);
        server_wait(&server.notes_sent, i);
    }
    expect(3, 0);
    finish(p);
}

/* It stands for all that was queued when it was moved. */
static void test_moved(void **state)
{
    struct peer *p = start(NULL, 4096);

    (void)state;
    peer_text(p, "note 300 30000");
    peer_text(p, "move 300 30000");
    server_wait(&server.messages, 2);
    read_messages(p, 350);
    usleep(20000);
    expect(0, 0);
    read_messages(p, 250);
    server_wait(&server.notes_sent, 1);
    expect(1, 0);
    finish(p);
}

static void test_the_peer_goes(void **state)
{
    struct peer *p = start(NULL, 4096);

    (void)state;
    peer_text(p, "note 300 30000");
    peer_text(p, "note 1 10");
    server_wait(&server.messages, 2);
    finish(p);
    expect(0, 2);
}

/* Closing sends what is queued; closing at once forgets it. */
static void test_closing(void **state)
{
    (void)state;
    for (int now = 0; now < 2; now++) {
        struct peer *p = start(NULL, 4096);

        peer_text(p, "note 300 30000");
        peer_text(p, now ? "now" : "close");
        server_wait(&server.messages, 2);
        if (now)
            server_wait(&server.notes_lost, 1);
        else
            read_messages(p, 300);
        if (!now)
            server_wait(&server.notes_sent, 1);
        expect(!now, now);
        finish(p);
        expect(!now, now);
    }
}

static void test_forgotten(void **state)
{
    struct peer *p = start(&(struct loop_options){.max_queue = 1 << 20, .forget = true}, 4096);

    (void)state;
    peer_text(p, "note 20 30000");
    peer_text(p, "flood 300 30000");
    server_wait(&server.notes_lost, 1);
    expect(0, 1);
    assert_int_equal(atomic_load(&server.forgotten), 1);
    finish(p);
}

/* Given up for want of an answer: told at once, not when the socket is closed at last. */
static void test_given_up(void **state)
{
    struct peer *p = start(&(struct loop_options){.heartbeat_ms = 200}, 4096);
    int64_t begun = clock_mono_ms();

    (void)state;
    peer_text(p, "note 300 30000");
    server_wait(&server.notes_lost, 1);
    assert_in_range(clock_mono_ms() - begun, 200, 2500);
    assert_int_equal(atomic_load(&server.closed), 0);
    expect(0, 1);
    finish(p);
}

/* The server ends. */
static void test_stopping(void **state)
{
    struct peer *p = start(NULL, 4096);

    (void)state;
    peer_text(p, "note 300 30000");
    server_wait(&server.messages, 1);
    server_stop(&server);
    expect(0, 1);
    peer_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_queued),
        cmocka_unit_test(test_sent_when_read),
        cmocka_unit_test(test_moved),
        cmocka_unit_test(test_the_peer_goes),
        cmocka_unit_test(test_closing),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_stopping),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
