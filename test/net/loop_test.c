#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"
#include "peer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static struct server server;

/* Whatever was posted before a client's bytes were sent is handled before them. */
static void test_posts_come_before_later_bytes(void **state)
{
    struct peer *p;
    char text[40];
    int i;

    (void)state;
    server_start(&server, NULL);
    p = peer_new(&server);
    for (i = 1; i <= 5000; i++) {
        server_post(&server);
        snprintf(text, sizeof(text), "expect %d", i);
        peer_text(p, text);
    }
    server_wait(&server.messages, 5000);
    assert_int_equal(atomic_load(&server.too_early), 0);
    peer_free(p);
    server_stop(&server);
}

static void *poster(void *arg)
{
    int i;

    for (i = 0; i < 2000; i++)
        server_post(arg);
    return NULL;
}

static void test_posts_from_many_threads(void **state)
{
    pthread_t threads[4];
    int i;

    (void)state;
    server_start(&server, NULL);
    assert_false(loop_is_current(server.loop));
    for (i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, poster, &server), 0);
    for (i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    loop_stop(server.loop, 1000);
    assert_int_equal(atomic_load(&server.posted), 8000);
    server_stop(&server);
}

static void test_stop_says_1012(void **state)
{
    struct peer *p[3];
    struct loop_stats stats;
    int64_t before;
    int i;

    (void)state;
    server_start(&server, NULL);
    for (i = 0; i < 3; i++)
        p[i] = peer_new(&server);
    peer_text(p[0], "hello");
    peer_expect(p[0], "text hello");
    before = clock_mono_ms();
    loop_stop(server.loop, 300); /* nobody answers */
    assert_in_range(clock_mono_ms() - before, 250, 1500);
    for (i = 0; i < 3; i++) {
        peer_expect(p[i], "close 1012 server is shutting down");
        peer_expect(p[i], "end");
        peer_free(p[i]);
    }
    loop_stats(server.loop, &stats);
    assert_int_equal(stats.accepted, 3);
    assert_int_equal(stats.messages_in, 1);
    assert_int_equal(stats.messages_out, 1);
    assert_int_equal(atomic_load(&server.last_code), 1012);
    server_stop(&server);
}

static void *answer(void *arg)
{
    struct peer *p = arg;

    if (strcmp(peer_next(p), "close 1012 server is shutting down") == 0)
        peer_send(p, 0x88, "\x03\xf4", 2);
    peer_next(p);
    peer_free(p);
    return NULL;
}

static void test_stop_ends_when_all_have_answered(void **state)
{
    struct peer *p;
    pthread_t thread;
    int64_t before = clock_mono_ms();

    (void)state;
    server_start(&server, NULL);
    p = peer_new(&server);
    assert_int_equal(pthread_create(&thread, NULL, answer, p), 0);
    loop_stop(server.loop, 4000);
    assert_true(clock_mono_ms() - before < 2000);
    pthread_join(thread, NULL);
    server_stop(&server);
}

static void test_stop_without_connections(void **state)
{
    int64_t before = clock_mono_ms();

    (void)state;
    server_start(&server, NULL);
    server_stop(&server);
    assert_true(clock_mono_ms() - before < 500);
}

static void test_adopting_a_dead_descriptor(void **state)
{
    (void)state;
    server_start(&server, NULL);
    assert_int_equal(loop_adopt(server.loop, -1, &server_ops, &server, "HELLO", 5), 0);
    server_wait(&server.refused, 1);
    server_stop(&server);
    assert_int_equal(atomic_load(&server.opened), 0);
}

static void test_adopting_without_memory(void **state)
{
    int fds[2];
    char byte;

    (void)state;
    server_start(&server, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    mem_fail_after(0);
    assert_int_equal(
        loop_adopt(server.loop, fds[1], &server_ops, &server, "HELLO", 5), STATUS_NOMEM);
    mem_fail_after(-1);
    assert_int_equal(atomic_load(&server.refused), 1);
    assert_int_equal(read(fds[0], &byte, 1), 0);
    close(fds[0]);
    server_stop(&server);
}

static void test_starting_without_memory(void **state)
{
    struct loop_options o = {.max_message = 1, .max_queue = 1};
    struct loop *l = NULL;
    long n;

    (void)state;
    for (n = 0; n < 20 && !l; n++) {
        mem_fail_after(n);
        l = loop_new(&o);
        mem_fail_after(-1);
    }
    assert_in_range(n, 2, 19);
    loop_stop(l, 0);
    loop_free(l);
}

struct turns {
    struct loop *loop;
    atomic_int ends, ticks;
};

static void turn_end(void *ctx)
{
    struct turns *t = ctx;

    atomic_fetch_add(&t->ends, 1);
}

static void tick(void *ctx, int64_t mono_ms)
{
    struct turns *t = ctx;

    assert_true(mono_ms > 0);
    atomic_fetch_add(&t->ticks, 1);
}

static void test_turn_end_and_tick(void **state)
{
    struct turns t = {0};
    struct loop_options o = {.ctx = &t, .turn_end = turn_end, .tick = tick, .id = 7};
    int64_t before = clock_mono_ms();

    (void)state;
    t.loop = loop_new(&o);
    assert_non_null(t.loop);
    assert_int_equal(loop_id(t.loop), 7);
    server_wait(&t.ticks, 2);
    assert_in_range(clock_mono_ms() - before, 1900, 4000);
    loop_stop(t.loop, 0);
    loop_free(t.loop);
    assert_in_range(atomic_load(&t.ends), 2, 20); /* an idle loop sleeps */
}

/* As many as the limit on open files allows, up to 1,000. */
static int affordable(void)
{
    struct rlimit r;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    r.rlim_cur = r.rlim_max < 4096 ? r.rlim_max : 4096;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
    return r.rlim_cur >= 2100 ? 1000 : (int)(r.rlim_cur - 100) / 2;
}

static void test_a_thousand_connections(void **state)
{
    static struct peer *peers[1000];
    int n = affordable(), round, i;
    struct loop_stats stats;
    char expected[40], text[40];

    (void)state;
    server_start(&server, &(struct loop_options){.heartbeat_ms = 60000});
    for (i = 0; i < n; i++)
        peers[i] = peer_new(&server);
    for (round = 0; round < 3; round++) {
        for (i = 0; i < n; i++) {
            snprintf(text, sizeof(text), "hello %d %d", round, i);
            peer_text(peers[i], text);
        }
        for (i = 0; i < n; i++) {
            snprintf(expected, sizeof(expected), "text hello %d %d", round, i);
            peer_expect(peers[i], expected);
        }
    }
    loop_stats(server.loop, &stats);
    assert_int_equal(stats.connections, n);
    assert_int_equal(stats.messages_in, 3 * n);
    for (i = 0; i < n; i += 2)
        peer_free(peers[i]);
    server_wait(&server.closed, (n + 1) / 2);
    loop_stop(server.loop, 100);
    for (i = 1; i < n; i += 2) {
        peer_expect(peers[i], "close 1012 server is shutting down");
        peer_free(peers[i]);
    }
    server_stop(&server);
}

/* A hub in miniature: the owner that ends tells the one that stays. */
static struct conn *stays;

static void *tell_open(struct conn *c, void *start_ctx)
{
    if (!stays)
        stays = c;
    return start_ctx;
}

static int tell_message(void *owner, enum ws_opcode opcode, const char *data, size_t len)
{
    (void)owner;
    (void)opcode;
    (void)data;
    (void)len;
    return 0;
}

static void say_bye(void *owner, int code)
{
    char text[40];

    (void)owner;
    snprintf(text, sizeof(text), "left %d", code);
    conn_send_text(stays, text, strlen(text)); /* to itself: refused, as it is over */
}

static const struct conn_ops telling_ops = {tell_open, tell_message, say_bye, NULL, NULL};

static void test_what_closed_sends_goes_out(void **state)
{
    int a[2], b[2];
    char got[100] = "";
    struct loop_options o = {.max_message = 100, .max_queue = 1000};
    struct loop *l = loop_new(&o);
    int64_t before = clock_mono_ms();

    (void)state;
    assert_non_null(l);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
    loop_adopt(l, a[1], &telling_ops, &o, NULL, 0);
    loop_adopt(l, b[1], &telling_ops, &o, NULL, 0);
    close(b[0]);
    assert_int_equal(read(a[0], got, sizeof(got)), 11);
    assert_memory_equal(got, "\x81\x09left 1006", 11);
    assert_true(clock_mono_ms() - before < 900); /* not only at the next tick */
    close(a[0]);
    loop_stop(l, 100);
    loop_free(l);
}

/* The peer has gone before its message is answered: found out while sending. */
static void test_an_end_while_sending_is_told_at_once(void **state)
{
    int64_t before = clock_mono_ms();
    int fds[2];

    (void)state;
    server_start(&server, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(write(fds[0], "\x81\x82\0\0\0\0hi", 8), 8);
    close(fds[0]);
    loop_adopt(server.loop, fds[1], &server_ops, &server, NULL, 0);
    server_wait(&server.closed, 1);
    assert_true(clock_mono_ms() - before < 500);
    assert_int_equal(atomic_load(&server.messages), 1);
    assert_int_equal(atomic_load(&server.last_code), WS_CLOSE_ABNORMAL);
    server_stop(&server);
}

/* Many to send to, for each of whom it takes a millisecond. */
#define ROUND 128

struct round {
    struct loop *loop;
    struct message first, second, third;
    struct conn *conns[ROUND];
    atomic_int opened, over;
    int behind;
    uint64_t sends;
};

static struct round sending;

static void *join_round(struct conn *c, void *start_ctx)
{
    sending.conns[atomic_fetch_add(&sending.opened, 1)] = c;
    return start_ctx;
}

static void take_time(void *owner)
{
    (void)owner;
    usleep(1000);
}

static void forget_round(void *owner, int code)
{
    (void)owner;
    (void)code;
}

static const struct conn_ops round_ops = {
    .open = join_round, .message = tell_message, .closed = forget_round, .drained = take_time};

static uint64_t sends(void)
{
    struct loop_stats stats;

    loop_stats(sending.loop, &stats);
    return stats.sends;
}

static void send_first(struct message *m, void *ctx)
{
    (void)m;
    (void)ctx;
    sending.sends = sends();
    for (int i = 0; i < ROUND; i++) {
        conn_want_drained(sending.conns[i], 1);
        conn_send_text(sending.conns[i], "one", 3);
    }
}

/* One who had the first and one who is still to get it are closed at once. */
static void send_second(struct message *m, void *ctx)
{
    int behind = 0;

    (void)m;
    (void)ctx;
    for (int i = 0; i < ROUND; i++)
        behind += conn_queued(sending.conns[i]) > 0;
    for (int i = 1; i < ROUND - 1; i++)
        conn_send_text(sending.conns[i], "two", 3);
    conn_close_now(sending.conns[0], WS_CLOSE_POLICY, "", NULL, 0);
    conn_close_now(sending.conns[ROUND - 1], WS_CLOSE_POLICY, "", NULL, 0);
    sending.behind = behind;
}

static void end_round(struct message *m, void *ctx)
{
    (void)m;
    (void)ctx;
    sending.sends = sends() - sending.sends;
    atomic_store(&sending.over, 1);
}

static size_t read_all(int fd, char *got, size_t size, size_t wanted)
{
    size_t len = 0;

    while (len < wanted) {
        ssize_t n = read(fd, got + len, size - len);

        if (n <= 0)
            break;
        len += (size_t)n;
    }
    return len;
}

/* What is posted in the middle of a long round goes along, for those whose turn is still to come.
 */
static void test_a_round_is_joined(void **state)
{
    struct loop_options o = {.max_message = 100, .max_queue = 1000, .ctx = &sending};
    int fds[ROUND][2];
    char got[100];

    (void)state;
    sending =
        (struct round){.first.run = send_first, .second.run = send_second, .third.run = end_round};
    sending.loop = loop_new(&o);
    assert_non_null(sending.loop);
    for (int i = 0; i < ROUND; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]), 0);
        loop_adopt(sending.loop, fds[i][1], &round_ops, &sending, NULL, 0);
    }
    server_wait(&sending.opened, ROUND);
    loop_post(sending.loop, &sending.first);
    assert_int_equal(read_all(fds[0][0], got, sizeof(got), 5), 5);
    assert_memory_equal(got, "\x81\x03one", 5);
    loop_post(sending.loop, &sending.second);
    for (int i = 1; i < ROUND - 1; i++) {
        assert_int_equal(read_all(fds[i][0], got, sizeof(got), 10), 10);
        assert_memory_equal(got, "\x81\x03one\x81\x03two", 10);
    }
    assert_int_equal(read_all(fds[0][0], got, sizeof(got), 4), 4);
    assert_memory_equal(got, "\x88\x02\x03\xf0", 4);
    assert_int_equal(read_all(fds[ROUND - 1][0], got, sizeof(got), 4), 4);
    assert_memory_equal(got, "\x88\x02\x03\xf0", 4);
    loop_post(sending.loop, &sending.third);
    server_wait(&sending.over, 1);
    assert_in_range(sending.behind, 2, ROUND - 2);
    assert_int_equal(sending.sends, 2 * ROUND - sending.behind);
    loop_stop(sending.loop, 0);
    loop_free(sending.loop);
    for (int i = 0; i < ROUND; i++)
        close(fds[i][0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_posts_come_before_later_bytes),
        cmocka_unit_test(test_posts_from_many_threads),
        cmocka_unit_test(test_stop_says_1012),
        cmocka_unit_test(test_stop_ends_when_all_have_answered),
        cmocka_unit_test(test_stop_without_connections),
        cmocka_unit_test(test_adopting_a_dead_descriptor),
        cmocka_unit_test(test_adopting_without_memory),
        cmocka_unit_test(test_starting_without_memory),
        cmocka_unit_test(test_turn_end_and_tick),
        cmocka_unit_test(test_a_thousand_connections),
        cmocka_unit_test(test_what_closed_sends_goes_out),
        cmocka_unit_test(test_an_end_while_sending_is_told_at_once),
        cmocka_unit_test(test_a_round_is_joined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
