#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/private.h"
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

static void test_echo(void **state)
{
    struct peer *p = start(NULL);

    (void)state;
    peer_text(p, "hello");
    peer_expect(p, "text hello");
    peer_send(p, 0x01, "in ", 3);
    peer_send(p, 0x89, "now", 3);
    peer_send(p, 0x00, "two ", 4);
    peer_send(p, 0x80, "parts", 5);
    peer_expect(p, "pong now");
    peer_expect(p, "text in two parts");
    finish(p, WS_CLOSE_ABNORMAL);
}

/* Each byte in a packet of its own. */
static void test_byte_by_byte(void **state)
{
    static const char bytes[] = "\x81\x85\0\0\0\0hello\x89\x80\0\0\0\0\x88\x82\0\0\0\0\x03\xe8";
    struct peer *p = start(NULL);
    size_t i;

    (void)state;
    for (i = 0; i + 1 < sizeof(bytes); i++) {
        peer_raw(p, bytes + i, 1);
        usleep(1000);
    }
    peer_expect(p, "text hello");
    peer_expect(p, "pong ");
    peer_expect(p, "close 1000 ");
    peer_expect(p, "end");
    finish(p, 1000);
}

static void test_peer_closes(void **state)
{
    static const struct {
        const char *payload;
        size_t len;
        const char *answer;
        int code;
    } cases[] = {
        {"", 0, "close ", WS_CLOSE_NO_STATUS},
        {"\x03\xe8", 2, "close 1000 ", 1000},
        {"\x03\xe9gone", 6, "close 1001 ", 1001},
        {"\x0b\xb8", 2, "close 3000 ", 3000},
        {"\x03\xed", 2, "close 1002 frame breaks the WebSocket protocol", 1002}, /* 1005 */
        {"x", 1, "close 1002 frame breaks the WebSocket protocol", 1002},
        {"\x03\xe8\xff", 3, "close 1007 text is not UTF-8", 1007},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct peer *p = start(NULL);

        peer_text(p, "before");
        peer_send(p, 0x88, cases[i].payload, cases[i].len);
        peer_text(p, "after");
        peer_expect(p, "text before");
        peer_expect(p, cases[i].answer);
        peer_expect(p, "end"); /* the server closes first, and without a reset */
        finish(p, cases[i].code);
    }
}

static void test_peer_closes_and_shuts(void **state)
{
    struct peer *p = start(NULL);

    (void)state;
    peer_send(p, 0x88, "\x03\xe8", 2);
    peer_shut(p);
    peer_expect(p, "close 1000 ");
    peer_expect(p, "end");
    finish(p, 1000);
}

static void test_peer_just_goes(void **state)
{
    struct linger hard = {1, 0};
    struct peer *p = start(NULL);

    (void)state;
    peer_shut(p);
    peer_expect(p, "end");
    finish(p, WS_CLOSE_ABNORMAL);

    p = start(NULL);
    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)); /* a reset */
    finish(p, WS_CLOSE_ABNORMAL);
}

static void test_server_closes(void **state)
{
    struct peer *p = start(NULL);

    (void)state;
    peer_text(p, "close");
    peer_text(p, "ignored");
    peer_send(p, 0x89, "ignored", 7);
    peer_expect(p, "text bye");
    peer_expect(p, "close 1008 policy");
    p->wait_ms = 100;
    peer_expect(p, "nothing"); /* it waits for our answer */
    peer_send(p, 0x88, "\x03\xf0", 2);
    peer_expect(p, "end");
    finish(p, 1008);
}

static void test_server_closes_now(void **state)
{
    struct peer *p = start(NULL);

    (void)state;
    peer_text(p, "now");
    peer_expect(p, "text last");
    peer_expect(p, "close 1008 policy");
    peer_send(p, 0x88, "\x03\xf0", 2);
    peer_expect(p, "end");
    finish(p, 1008);
}

static void test_server_waits_three_seconds(void **state)
{
    struct peer *p = start(NULL);
    int64_t before = clock_mono_ms();

    (void)state;
    peer_text(p, "close");
    peer_expect(p, "text bye");
    peer_expect(p, "close 1008 policy");
    peer_expect(p, "end");
    assert_in_range(clock_mono_ms() - before, 2500, 4500);
    finish(p, 1008);
}

static void test_owner_stops(void **state)
{
    struct peer *p = start(NULL);

    (void)state;
    peer_text(p, "stop");
    peer_text(p, "ignored");
    peer_expect(p, "close 1011 internal error");
    peer_send(p, 0x88, "\x03\xf3", 2);
    peer_expect(p, "end");
    finish(p, 1011);
}

static void test_open_refuses(void **state)
{
    static const char *const close[] = {"close 1011 internal error", "close 1008 go away"};
    int how;

    (void)state;
    for (how = 1; how <= 2; how++) {
        struct peer *p;

        server_start(&server, NULL);
        atomic_store(&server.refuse, how);
        p = peer_new(&server); /* the hello comes in any case */
        peer_expect(p, close[how - 1]);
        peer_text(p, "ignored");
        peer_send(p, 0x88, "\x03\xf3", 2);
        peer_expect(p, "end");
        peer_free(p);
        server_stop(&server);
        assert_int_equal(atomic_load(&server.messages), 0);
    }
}

static void test_protocol_failures(void **state)
{
    struct peer *p = start(NULL);
    char junk[100000];

    (void)state;
    peer_text(p, "before");
    peer_raw(p, "\x81\x05hello", 7); /* no mask */
    memset(junk, 'x', sizeof(junk));
    peer_raw(p, junk, sizeof(junk)); /* is thrown away, and must not cause a reset */
    peer_expect(p, "text before");
    peer_expect(p, "close 1002 frame breaks the WebSocket protocol");
    peer_expect(p, "end");
    finish(p, 1002);

    p = start(NULL);
    peer_send(p, 0x81, "\xc3\x28", 2);
    peer_expect(p, "close 1007 text is not UTF-8");
    peer_expect(p, "end");
    finish(p, 1007);
}

static void test_message_too_large(void **state)
{
    struct peer *p = start(&(struct loop_options){.max_message = 1000});
    char fits[1001];
    char expected[1010] = "text ";

    (void)state;
    memset(fits, 'x', 1000);
    fits[1000] = '\0';
    strcat(expected, fits);
    peer_text(p, fits);
    peer_expect(p, expected);
    peer_raw(p, "\x81\xff\0\0\0\1\0\0\0\0", 10); /* 4 GB announced, nothing sent */
    peer_expect(p, "close 1009 message larger than 1000 bytes");
    peer_expect(p, "end");
    finish(p, 1009);
}

static void test_many_pings_at_once(void **state)
{
    struct peer *p = start(NULL);
    char expected[20], payload[20];
    int i;

    (void)state;
    for (i = 0; i < 10; i++) {
        snprintf(payload, sizeof(payload), "%d", i);
        peer_send(p, 0x89, payload, 1);
    }
    for (i = 0; i < 10; i++) {
        snprintf(expected, sizeof(expected), "pong %d", i);
        peer_expect(p, expected);
    }
    finish(p, WS_CLOSE_ABNORMAL);
}

/* Who pings without end is heard less, and answered in order all the same; the others wait for
 * nothing. */
static void test_pings_without_end(void **state)
{
    enum { PINGS = 4 * WS_IDLE_MAX / WS_IDLE_CONTROL };
    struct peer *p = start(NULL), *other = peer_new(&server);
    char frames[PINGS][7];
    int64_t begun = clock_mono_ms();

    (void)state;
    for (int i = 0; i < PINGS; i++)
        memcpy(frames[i], (char[]){(char)0x89, (char)0x81, 0, 0, 0, 0, (char)('a' + i % 26)}, 7);
    peer_raw(p, frames, sizeof(frames));
    peer_text(p, "done");
    for (int i = 0; i < PINGS; i++) {
        char expected[20];

        if (i % 100 == 0) {
            peer_text(other, "hello");
            peer_expect(other, "text hello");
        }
        snprintf(expected, sizeof(expected), "pong %c", 'a' + i % 26);
        peer_expect(p, expected);
    }
    peer_expect(p, "text done");
    assert_true(clock_mono_ms() - begun >= 3 * 40); /* it has rested three times */
    peer_raw(p, frames, sizeof(frames));            /* and goes while it rests */
    peer_free(other);
    finish(p, WS_CLOSE_ABNORMAL);
}

/* So it is with messages of no use. */
static void test_messages_of_no_use(void **state)
{
    enum { MESSAGES = 200 };
    struct peer *p = start(NULL);
    int64_t begun = clock_mono_ms();
    char text[30];

    (void)state;
    for (int i = 0; i < MESSAGES; i++) {
        snprintf(text, sizeof(text), "wasted %d", i);
        peer_text(p, text);
    }
    for (int i = 0; i < MESSAGES; i++) {
        snprintf(text, sizeof(text), "text wasted %d", i);
        peer_expect(p, text);
    }
    assert_true(clock_mono_ms() - begun >= 3 * 40);
    finish(p, WS_CLOSE_ABNORMAL);
}

/* Past 4096 unsent answers only the latest ping has to be answered. */
static void test_flood_of_pings(void **state)
{
    enum { PINGS = 5000, PAYLOAD = 125, SIZE = 6 + PAYLOAD };
    struct peer *p;
    char *frames = malloc(PINGS * SIZE), number[12], last[20] = "";
    int i, pongs = 0;

    (void)state;
    server_start(&server, NULL);
    p = peer_new_buffered(&server, 4096);
    for (i = 0; i < PINGS; i++) {
        memcpy(frames + SIZE * i, "\x89\xfd\0\0\0\0", 6);
        memset(frames + SIZE * i + 6, '.', PAYLOAD);
        snprintf(number, sizeof(number), "%08d", i);
        memcpy(frames + SIZE * i + 6, number, 8);
    }
    peer_raw(p, frames, PINGS * SIZE);
    peer_text(p, "done");
    /* It has heard them all, and has been able to send a few of the answers. */
    server_wait(&server.messages, 1);
    do {
        snprintf(last, sizeof(last), "%.13s", peer_next(p));
        pongs += strncmp(last, "pong", 4) == 0;
    } while (
        strcmp(last, "pong 00004999") != 0 && strcmp(last, "nothing") != 0 && pongs < PINGS + 1);
    assert_string_equal(last, "pong 00004999");
    assert_in_range(pongs, 4096, PINGS - 1);
    free(frames);
    finish(p, WS_CLOSE_ABNORMAL);
}

/* Messages 0 to n - 1 of "flood"; returns n and leaves what came next in `next`. */
static int read_flood(struct peer *p, char *next, size_t size)
{
    int n = 0, i;

    for (;;) {
        const char *got = peer_next(p);

        snprintf(next, size, "%s", got);
        if (sscanf(got, "text %d:b", &i) != 1)
            return n;
        assert_int_equal(i, n);
        n++;
    }
}

static void test_slow_reader(void **state)
{
    struct peer *p = start(&(struct loop_options){.max_queue = 1 << 20});
    struct peer *other = peer_new(&server);
    struct loop_stats stats;
    char next[100];
    int n;

    (void)state;
    peer_text(p, "flood 100000 1000");
    peer_text(other, "hello");
    peer_expect(other, "text hello");
    n = read_flood(p, next, sizeof(next));
    assert_in_range(n, 1, 99999);
    assert_string_equal(next, "text too slow");
    peer_expect(p, "close 1013 reading too slowly: more than 1048576 bytes were waiting");
    peer_send(p, 0x88, "\x03\xf5", 2);
    peer_expect(p, "end");
    loop_stats(server.loop, &stats);
    assert_int_equal(stats.slow_closed, 1);
    peer_text(other, "again");
    peer_expect(other, "text again");
    server_wait(&server.closed, 1);
    assert_int_equal(atomic_load(&server.last_code), 1013);
    peer_free(other);
    peer_free(p);
    server_stop(&server);
}

/* A peer that has nothing more to say gets what waits for it, and the end. */
static void test_end_of_the_stream_with_a_queue(void **state)
{
    struct peer *p;
    char next[100];

    (void)state;
    server_start(&server, &(struct loop_options){0});
    p = peer_new_buffered(&server, 4096);
    peer_text(p, "flood 20000 100");
    peer_shut(p);
    server_wait(&server.messages, 1);
    usleep(100000);
    assert_int_equal(read_flood(p, next, sizeof(next)), 20000);
    assert_string_equal(next, "end");
    server_wait(&server.closed, 1);
    assert_int_equal(atomic_load(&server.last_code), WS_CLOSE_ABNORMAL);
    peer_free(p);
    server_stop(&server);
}

/* The owner that waits for its reader is told once, when that has read on. */
static void test_drained(void **state)
{
    struct peer *p;
    char next[100];

    (void)state;
    server_start(&server, &(struct loop_options){.max_queue = 64 << 20});
    p = peer_new_buffered(&server, 4096);
    peer_text(p, "drain 2000 4000");
    server_wait(&server.messages, 1);
    usleep(20000);
    assert_int_equal(atomic_load(&server.drained), 0);
    assert_int_equal(read_flood(p, next, sizeof(next)), 2000);
    server_wait(&server.drained, 1);
    peer_free(p);
    server_wait(&server.closed, 1);
    assert_int_equal(atomic_load(&server.drained), 1);
    server_stop(&server);
}

/* A peer that never reads cannot hold the connection open. */
static void test_reader_that_stands_still(void **state)
{
    struct peer *p;
    int64_t before = clock_mono_ms();

    (void)state;
    server_start(&server, &(struct loop_options){.max_queue = 100000});
    p = peer_new_buffered(&server, 4096);
    peer_text(p, "flood 100000 1000");
    server_wait(&server.closed, 1);
    assert_in_range(clock_mono_ms() - before, 2000, 4900);
    finish(p, 1013);
}

/* Several times the socket's buffers, larger bodies than are copied, and a reader that keeps up. */
static void test_large_output(void **state)
{
    struct peer *p = start(NULL);
    char next[100];

    (void)state;
    peer_text(p, "flood 2000 20000");
    peer_text(p, "done");
    assert_int_equal(read_flood(p, next, sizeof(next)), 2000);
    assert_string_equal(next, "text done");
    peer_text(p, "flood 100000 100");
    peer_text(p, "done");
    assert_int_equal(read_flood(p, next, sizeof(next)), 100000);
    assert_string_equal(next, "text done");
    finish(p, WS_CLOSE_ABNORMAL);
}

/* All of it is put into the queue in one turn, in which the peer reads. */
static void test_large_output_in_a_long_turn(void **state)
{
    struct peer *p = start(NULL);
    char next[100];

    (void)state;
    peer_text(p, "pour 300 60000");
    peer_text(p, "done");
    assert_int_equal(read_flood(p, next, sizeof(next)), 300);
    assert_string_equal(next, "text done");
    assert_in_range(atomic_load(&server.queued), 0, 300 * 60000 / 2);
    finish(p, WS_CLOSE_ABNORMAL);
}

static void expect_parts(struct peer *p, int first, int end)
{
    char start[32];

    for (int i = first; i < end; i++) {
        snprintf(start, sizeof(start), "text %d:b", i);
        assert_memory_equal(peer_next(p), start, strlen(start));
    }
}

/* Bodies that others have been sent long ago are kept for one that does not read: a few of them. */
static void test_parts_for_who_does_not_read(void **state)
{
    struct peer *p;
    int taken;

    (void)state;
    server_start(&server, NULL);
    p = peer_new_buffered(&server, 4096);
    peer_text(p, "parts 100 20000");
    server_wait(&server.messages, 1);
    taken = atomic_load(&server.parts);
    assert_in_range(taken, 30, 50);
    peer_text(p, "parts 100 20000");
    server_wait(&server.messages, 2);
    assert_in_range(atomic_load(&server.parts), taken, taken + 1);
    taken = atomic_load(&server.parts);
    expect_parts(p, 0, taken);
    peer_text(p, "parts 20 1000");
    peer_text(p, "done");
    expect_parts(p, taken, taken + 20);
    peer_expect(p, "text done");
    finish(p, WS_CLOSE_ABNORMAL);
}

static void test_parts_are_bounded(void **state)
{
    struct peer *p;
    int taken;

    (void)state;
    server_start(&server, NULL);
    p = peer_new_buffered(&server, 4096);
    peer_text(p, "parts 100 60000");
    server_wait(&server.messages, 1);
    taken = atomic_load(&server.parts);
    assert_in_range(taken, 17, 25); /* a MiB, and what is in the kernel */
    expect_parts(p, 0, taken);
    finish(p, WS_CLOSE_ABNORMAL);
}

/* It is not known how old the parts are behind what is sent otherwise. */
static void test_no_parts_behind_others(void **state)
{
    struct peer *p;
    char next[100];

    (void)state;
    server_start(&server, NULL);
    p = peer_new_buffered(&server, 4096);
    peer_text(p, "flood 100 20000");
    server_wait(&server.messages, 1);
    peer_text(p, "parts 10 100");
    server_wait(&server.messages, 2);
    assert_int_equal(atomic_load(&server.parts), 0);
    peer_text(p, "done");
    assert_int_equal(read_flood(p, next, sizeof(next)), 100);
    assert_string_equal(next, "text done");
    peer_text(p, "parts 10 100");
    expect_parts(p, 0, 10);
    finish(p, WS_CLOSE_ABNORMAL);
}

/* One request through a server whose Nth allocation fails: it works, or this connection ends. */
static void test_memory_runs_out(void **state)
{
    static char text[2000];
    long n;
    int hit = 1;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    for (n = 0; n < 60 && hit; n++) {
        struct peer *p;
        const char *got;

        server_start(&server, NULL);
        mem_fail_after(n);
        p = peer_new(&server);
        peer_text(p, text); /* too long for a block of the queue */
        peer_send(p, 0x01, "cut", 3);
        usleep(2000);
        peer_send(p, 0x80, "text", 4);
        while (strncmp(got = peer_next(p), "text x", 6) == 0)
            ;
        if (strcmp(got, "text cuttext") == 0) {
            peer_text(p, "flood 3 5000");
            while (strncmp(got = peer_next(p), "text ", 5) == 0 && got[5] != '2')
                ;
        }
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (!hit)
            assert_memory_equal(got, "text 2:bb", 9);
        peer_free(p);
        server_stop(&server);
    }
    assert_in_range(n, 4, 59);
}

static void test_an_idle_connection_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct conn) < 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_peer_closes),
        cmocka_unit_test(test_peer_closes_and_shuts),
        cmocka_unit_test(test_peer_just_goes),
        cmocka_unit_test(test_server_closes),
        cmocka_unit_test(test_server_closes_now),
        cmocka_unit_test(test_server_waits_three_seconds),
        cmocka_unit_test(test_owner_stops),
        cmocka_unit_test(test_open_refuses),
        cmocka_unit_test(test_protocol_failures),
        cmocka_unit_test(test_message_too_large),
        cmocka_unit_test(test_many_pings_at_once),
        cmocka_unit_test(test_pings_without_end),
        cmocka_unit_test(test_messages_of_no_use),
        cmocka_unit_test(test_flood_of_pings),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_end_of_the_stream_with_a_queue),
        cmocka_unit_test(test_drained),
        cmocka_unit_test(test_reader_that_stands_still),
        cmocka_unit_test(test_large_output),
        cmocka_unit_test(test_large_output_in_a_long_turn),
        cmocka_unit_test(test_parts_for_who_does_not_read),
        cmocka_unit_test(test_parts_are_bounded),
        cmocka_unit_test(test_no_parts_behind_others),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_an_idle_connection_is_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
