#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/private.h"
#include "peer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What many connections together may make the server hold. */

static struct server server;

/* The beginning of a text of n bytes, in its first frame, which ends but not the message. */
static void begin_message(struct peer *p, size_t n)
{
    char *x = malloc(n);

    memset(x, 'x', n);
    peer_send(p, 0x01, x, n);
    free(x);
}

/* All that was sent so far has been read by the loop. */
static void settle(struct peer *p)
{
    peer_send(p, 0x89, "here", 4);
    peer_expect(p, "pong here");
}

static void the_oldest_half_message_is_given_up(void **state)
{
    struct peer *p[4];

    (void)state;
    server_start(&server, &(struct loop_options){.max_message = 1 << 20, .max_halves = 100000});
    for (int i = 0; i < 4; i++)
        p[i] = peer_new(&server);
    for (int i = 0; i < 2; i++) {
        begin_message(p[i], 20000);
        settle(p[i]);
    }
    /* Messages that come whole are not held, however many others are. */
    peer_text(p[3], "hello");
    peer_expect(p[3], "text hello");
    begin_message(p[2], 60000);
    begin_message(p[3], 2);
    settle(p[3]);
    peer_expect(p[0], "close 1013 too many messages are half received: send it again later");
    /* The others are not disturbed, and what was given up has made room. */
    settle(p[1]);
    settle(p[2]);
    peer_send(p[1], 0x80, "stop", 4);
    assert_true(strncmp(peer_next(p[1]), "text xxx", 8) == 0);
    peer_send(p[3], 0x80, "!", 1);
    peer_expect(p[3], "text xx!");
    begin_message(p[1], 20000);
    settle(p[1]);
    peer_send(p[2], 0x80, "end", 3);
    assert_true(strncmp(peer_next(p[2]), "text xxx", 8) == 0);
    for (int i = 0; i < 4; i++)
        peer_free(p[i]);
    server_wait(&server.closed, 4);
    server_stop(&server);
}

static void one_alone_may_be_too_much(void **state)
{
    struct peer *p;

    (void)state;
    server_start(&server, &(struct loop_options){.max_message = 1 << 20, .max_halves = 10000});
    p = peer_new(&server);
    begin_message(p, 50000);
    peer_expect(p, "close 1013 too many messages are half received: send it again later");
    peer_send(p, 0x80, "late", 4);
    peer_expect(p, "end");
    peer_free(p);
    server_wait(&server.closed, 1);
    assert_int_equal(atomic_load(&server.last_code), 1013);
    server_stop(&server);
}

/* Past the bound of all, who has more than a share of it is slow; who reads is not. */
static void queues_together_are_bounded(void **state)
{
    const struct loop_options o = {.max_queue = 64 << 20, .max_queues = 1 << 20};
    struct peer *good, *bad[3];
    struct loop_stats stats;
    char text[32];

    (void)state;
    server_start(&server, &o);
    good = peer_new(&server);
    for (int i = 0; i < 3; i++) {
        bad[i] = peer_new_buffered(&server, 4096);
        peer_text(bad[i], "flood 40000 10");
        settle(good);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "hello %d", i);
        peer_text(good, text);
        assert_string_equal(peer_next(good) + 5, text);
    }
    loop_stats(server.loop, &stats);
    assert_in_range(stats.slow_closed, 1, 3);
    for (int i = 0; i < 3; i++)
        peer_free(bad[i]);
    peer_free(good);
    server_wait(&server.closed, 4);
    server_stop(&server);
}

enum { PINGS = 4000, PING_SIZE = 6 + 125 };
static char pings[PINGS][PING_SIZE];

static void *send_pings(void *arg)
{
    peer_raw(arg, pings[0], sizeof(pings));
    peer_text(arg, "done");
    return NULL;
}

/* Each of so many that do not read has few pongs waiting, and the last when it reads. */
static void pongs_together_are_bounded(void **state)
{
    enum { PEERS = 32 };
    struct peer *p[PEERS], *good;
    pthread_t threads[PEERS];
    struct loop_stats stats;

    (void)state;
    for (int i = 0; i < PINGS; i++)
        memcpy(pings[i], "\x89\xfd", 2);
    server_start(&server, NULL);
    good = peer_new(&server);
    for (int i = 0; i < PEERS; i++) {
        p[i] = peer_new_buffered(&server, 4096);
        assert_int_equal(pthread_create(&threads[i], NULL, send_pings, p[i]), 0);
    }
    for (int i = 0; i < PEERS; i++)
        pthread_join(threads[i], NULL);
    server_wait(&server.messages, PEERS);
    settle(good);
    loop_stats(server.loop, &stats);
    /* Without the bound it would be PEERS * PINGS of them. */
    assert_in_range(stats.queued_bytes, 1 << 20, 127 * (65536 + 100 * PEERS));
    for (int i = 0; i < PEERS; i++) {
        peer_send(p[i], 0x89, "last", 4);
        for (int n = 0; strcmp(peer_next(p[i]), "pong last") != 0; n++)
            assert_true(n < PINGS + 1);
    }
    for (int i = 0; i < PEERS; i++)
        peer_free(p[i]);
    peer_free(good);
    server_wait(&server.closed, PEERS + 1);
    server_stop(&server);
}

struct gate {
    struct message message;
    atomic_bool open;
};

static void wait_for_gate(struct message *m, void *ctx)
{
    struct gate *g = (struct gate *)m;

    (void)ctx;
    while (!atomic_load(&g->open))
        usleep(1000);
}

/* Many have much to say at once; somebody with one message does not wait for all of theirs. */
static void floods_leave_room(void **state)
{
    enum { PEERS = 20, TEXTS = 20000, SIZE = 7 };
    struct gate gate = {.message.run = wait_for_gate};
    struct peer *p[PEERS], *good;
    char *texts = malloc(TEXTS * SIZE);
    int heard;

    (void)state;
    for (int i = 0; i < TEXTS; i++)
        memcpy(texts + (size_t)i * SIZE, "\x81\x81\0\0\0\0x", SIZE);
    server_start(&server, NULL);
    for (int i = 0; i < PEERS; i++)
        p[i] = peer_new(&server);
    good = peer_new(&server);
    loop_post(server.loop, &gate.message);
    for (int i = 0; i < PEERS; i++)
        peer_raw(p[i], texts, TEXTS * SIZE);
    peer_text(good, "hello");
    atomic_store(&gate.open, true);
    peer_expect(good, "text hello");
    heard = atomic_load(&server.messages);
    print_message("%d messages of others came before\n", heard - 1);
    assert_in_range(heard, 1, PEERS * TEXTS / 4);
    peer_free(good);
    for (int i = 0; i < PEERS; i++)
        peer_free(p[i]);
    server_wait(&server.closed, PEERS + 1);
    server_stop(&server);
    free(texts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_half_message_is_given_up),
        cmocka_unit_test(one_alone_may_be_too_much),
        cmocka_unit_test(queues_together_are_bounded),
        cmocka_unit_test(pongs_together_are_bounded),
        cmocka_unit_test(floods_leave_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
