#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "peer.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct server server;

static void *stop(void *arg)
{
    loop_stop(server.loop, *(int *)arg);
    return NULL;
}

/* Reads "0:bbb…", "1:bbb…" and so on; the first thing that is none of them. */
static const char *read_flood(struct peer *p, int *count)
{
    const char *next;
    char begin[32];

    for (*count = 0;; ++*count) {
        snprintf(begin, sizeof(begin), "text %d:bbb", *count);
        next = peer_next(p);
        if (strncmp(next, begin, strlen(begin)) != 0)
            return next;
    }
}

/* It begins to read after half of the grace: whole messages, one Close frame, the end. */
static void test_who_has_much_waiting_hears_of_the_end(void **state)
{
    struct peer *p;
    pthread_t stopper;
    int grace_ms = 3000, count;

    (void)state;
    server_start(&server, &(struct loop_options){.max_queue = 64 << 20});
    p = peer_new_buffered(&server, 4096);
    p->wait_ms = 5000;
    peer_text(p, "flood 1000 20000");
    server_wait(&server.messages, 1);
    assert_int_equal(pthread_create(&stopper, NULL, stop, &grace_ms), 0);
    usleep(1800 * 1000);
    assert_string_equal(read_flood(p, &count), "close 1012 server is shutting down");
    assert_in_range(count, 1, 900);
    peer_send(p, 0x88, "\x03\xf4", 2);
    peer_expect(p, "end");
    pthread_join(stopper, NULL);
    assert_int_equal(atomic_load(&server.last_code), 1012);
    peer_free(p);
    server_stop(&server);
}

/* One that reads all along gets all of it. */
static void test_who_reads_gets_all(void **state)
{
    struct peer *p;
    pthread_t stopper;
    int grace_ms = 4000, count;

    (void)state;
    server_start(&server, &(struct loop_options){.max_queue = 64 << 20});
    p = peer_new(&server);
    p->wait_ms = 5000;
    peer_text(p, "flood 300 20000");
    server_wait(&server.messages, 1);
    assert_int_equal(pthread_create(&stopper, NULL, stop, &grace_ms), 0);
    assert_string_equal(read_flood(p, &count), "close 1012 server is shutting down");
    assert_int_equal(count, 300);
    peer_send(p, 0x88, "\x03\xf4", 2);
    peer_expect(p, "end");
    pthread_join(stopper, NULL);
    peer_free(p);
    server_stop(&server);
}

struct block {
    struct message message;
    sem_t begun, end;
};

static void run_block(struct message *m, void *receiver)
{
    struct block *b = (struct block *)m;

    (void)receiver;
    sem_post(&b->begun);
    sem_wait(&b->end);
}

static void test_a_loop_that_hangs_does_not_turn(void **state)
{
    struct block block = {.message.run = run_block};
    int64_t end = clock_mono_ms() + 5000;

    (void)state;
    sem_init(&block.begun, 0, 0);
    sem_init(&block.end, 0, 0);
    server_start(&server, NULL);
    assert_true(loop_turns(server.loop));
    while (!loop_turns(server.loop))
        assert_true(clock_mono_ms() < end);
    loop_post(server.loop, &block.message);
    sem_wait(&block.begun);
    loop_turns(server.loop); /* the question before may have been answered */
    for (int i = 0; i < 20; i++) {
        usleep(5000);
        assert_false(loop_turns(server.loop));
    }
    sem_post(&block.end);
    while (!loop_turns(server.loop))
        assert_true(clock_mono_ms() < end);
    /* The last question is still out when the loop ends. */
    server_stop(&server);
    sem_destroy(&block.begun);
    sem_destroy(&block.end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_has_much_waiting_hears_of_the_end),
        cmocka_unit_test(test_who_reads_gets_all),
        cmocka_unit_test(test_a_loop_that_hangs_does_not_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
