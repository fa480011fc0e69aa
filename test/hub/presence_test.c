#include "hub_fixture.h"

#include "base/mem.h"
#include "net/ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Channel collaboration: who is there, and where. Most of it holds whatever loops people are on. */

static struct feed f;

static int setup(void **state)
{
    feed_options.loops = *state ? *(int *)*state : 1;
    feed_start(&f, schema_of(NULL));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    feed_stop(&f);
    feed_options.loops = 1;
    feed_options.max_queue = 1 << 20;
    feed_options.resync_slow = false;
    return 0;
}

#define JOIN "{\"type\":\"subscribe\",\"channel\":\"collaboration\"}"
#define LEAVE "{\"type\":\"unsubscribe\",\"channel\":\"collaboration\"}"
#define MOVE(row) "{\"type\":\"user:cursor\",\"data\":{\"table\":\"t\",\"row\":" row "}}"

static struct client *join(const char *user)
{
    struct client *c = client_as(&f, user);

    client_subscribe(c, JOIN);
    return c;
}

static void test_transcript(void **state)
{
    struct client *ann = client_as(&f, "ann"), *bob;

    (void)state;
    client_send(ann, JOIN);
    client_expect_part(ann, "\"type\":\"subscribed\",\"channel\":\"collaboration\",\"data\":{"
                            "\"channel\":\"collaboration\",\"seq\":0,\"userId\":\"ann\","
                            "\"connectionId\":\"c\",\"connectedUsers\":[{\"userId\":\"ann\",");
    bob = join("bob");
    client_expect_part(ann, "\"type\":\"user:joined\",\"channel\":\"collaboration\","
                            "\"userId\":\"bob\",\"data\":{\"userId\":\"bob\",");
    client_send(
        bob, "{\"type\":\"user:cursor\",\"data\":{\"table\":\"t\",\"row\":1,\"column\":\"c\"}}");
    client_expect(ann, "{\"id\":\"c\",\"timestamp\":T,\"type\":\"user:cursor\","
                       "\"channel\":\"collaboration\",\"userId\":\"bob\",\"data\":{"
                       "\"userId\":\"bob\",\"connectionId\":\"c\",\"table\":\"t\",\"row\":1,"
                       "\"column\":\"c\"}}");
    client_send(bob, LEAVE);
    client_expect_part(bob, "unsubscribed");
    client_expect_part(ann, "\"type\":\"user:left\",\"channel\":\"collaboration\","
                            "\"userId\":\"bob\",");
    client_send(bob, MOVE("1"));
    client_expect_part(bob, "CONFLICT");
    client_quiet(ann);
    client_free(ann);
    client_free(bob);
}

static void test_two_tabs_are_one_user(void **state)
{
    struct client *bob = join("bob"), *first, *cid, *second;
    uint64_t first_id;
    char part[128];

    (void)state;
    first = join("ann");
    first_id = first->id;
    client_expect_part(bob, "\"userCount\":2}}");
    cid = join("cid");
    client_expect_part(bob, "\"userCount\":3}}");
    client_expect_part(first, "\"userCount\":3}}");
    second = client_as(&f, "ann");
    client_send(second, JOIN);
    snprintf(part, sizeof(part),
        "{\"userId\":\"ann\",\"connectionIds\":[\"c%llu\",\"c%llu\"],\"cursors\":[]}",
        (unsigned long long)first_id, (unsigned long long)second->id);
    client_expect_part(second, part);
    client_quiet(bob);
    client_quiet(first);
    client_send(first, MOVE("1"));
    client_expect_part(second, "\"row\":1");
    client_expect_part(bob, "\"row\":1");
    client_free(first);
    client_expect_part(bob,
        "\"userId\":\"ann\",\"data\":{\"userId\":\"ann\",\"connectionId\":\"c\","
        "\"table\":null,\"row\":null,\"column\":null}}");
    client_expect_part(second, "\"table\":null");
    client_quiet(bob);
    client_free(second);
    client_expect_part(bob, "\"type\":\"user:left\"");
    client_free(cid);
    client_expect_part(bob, "\"userCount\":1}}");
    client_quiet(bob);
    client_free(bob);
}

/* Nobody known is somebody for as long as the connection lasts, whatever others are called. */
static void test_nobody(void **state)
{
    struct client *a = join(NULL), *b;
    char name[64];

    (void)state;
    snprintf(name, sizeof(name), "anonymous:c%llu", (unsigned long long)a->id);
    b = join(name);
    client_expect_part(a, "\"userCount\":2}}");
    client_free(b);
    client_expect_part(a, "\"userCount\":1}}");
    client_free(a);
}

static void test_late_joiner(void **state)
{
    struct client *ann = join("ann"), *bob = join("bob"), *late;
    char part[128];

    (void)state;
    client_expect_part(ann, "user:joined");
    client_send(ann, MOVE("1"));
    client_send(ann, MOVE("{\"a\":2}"));
    while (!strstr(client_read(bob), "\"row\":{\"a\":2}"))
        ;
    late = client_as(&f, "cid");
    client_send(late, JOIN);
    snprintf(part, sizeof(part),
        "\"cursors\":[{\"connectionId\":\"c\",\"table\":\"t\",\"row\":{\"a\":2},\"column\":null}]");
    client_expect_part(late, part);
    client_send(late, JOIN);
    client_expect_part(late, part);
    client_quiet(late);
    client_free(ann);
    client_free(bob);
    client_free(late);
}

/* Past a number the list is left out; the count and who it is about are not. */
static void test_a_crowd(void **state)
{
    struct client *first = join("first"), *crowd[70];
    const char *got;
    char name[32];

    (void)state;
    for (int i = 0; i < 70; i++) {
        snprintf(name, sizeof(name), "u%d", i);
        crowd[i] = join(name);
        got = client_read(first);
        assert_non_null(strstr(got, name));
        assert_int_equal(strstr(got, "connectedUsers") != NULL, i + 2 <= 64);
    }
    assert_non_null(strstr(got, "\"userCount\":71}}"));
    client_send(first, JOIN);
    client_expect_part(first, "{\"userId\":\"u69\",");
    for (int i = 0; i < 70; i++)
        client_free(crowd[i]);
    for (int i = 0; i < 70; i++)
        client_expect_part(first, "user:left");
    assert_non_null(strstr(first->text, "\"userCount\":1}}"));
    client_free(first);
}

/* Reads on to the last position of all `count` movers, and returns how many messages that took. */
static size_t read_to_last(struct client *c, int count, const char *last)
{
    size_t messages = 0;
    int found = 0;

    while (found < count) {
        const char *got = client_read(c);

        if (!got)
            fail_msg("closed with %d", c->code);
        assert_null(strstr(got, "resync"));
        found += strstr(got, last) != NULL;
        messages++;
    }
    return messages;
}

/*
 * Nobody reads, everybody moves: what waits does not grow with the moves, and afterwards everyone
 * is told the last position of everyone.
 */
static void test_slow_readers(void **state)
{
    enum { USERS = 40, STEPS = 400 };
    struct client *c[USERS];
    struct hub_stats stats;
    char name[16], move[320], last[32];
    size_t most = 0;

    (void)state;
    for (int i = 0; i < USERS; i++) {
        int small = 4096;

        snprintf(name, sizeof(name), "u%d", i);
        c[i] = join(name);
        setsockopt(c[i]->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    }
    for (int step = 1; step <= STEPS; step++) {
        snprintf(move, sizeof(move),
            "{\"type\":\"user:cursor\",\"data\":{\"table\":\"t%0200d\",\"row\":%d}}", 0, step);
        for (int i = 0; i < USERS; i++)
            client_send(c[i], move);
        usleep(5000);
        hub_stats(f.hub, &stats);
        if (stats.queued_bytes > most)
            most = stats.queued_bytes;
    }
    assert_int_equal(stats.connections, USERS);
    assert_true(most > 65536 && most < USERS * (65536 + USERS * 600));
    snprintf(last, sizeof(last), "\"row\":%d,", STEPS);
    for (int i = 0; i < USERS; i++) {
        size_t messages = read_to_last(c[i], USERS - 1, last);

        assert_true(messages < USERS * STEPS / 10);
    }
    for (int i = 0; i < USERS; i++)
        client_free(c[i]);
}

/* What was forgotten for a slow reader it is told once it has read: in the end it knows all. */
static void test_resync(void **state)
{
    enum { USERS = 10 };
    struct client *c[USERS], *slow;
    struct hub_stats stats = {0};
    char name[16], text[4200];
    int found = 0;

    (void)state;
    slow = join("slow");
    for (int i = 0; i < USERS; i++) {
        snprintf(name, sizeof(name), "u%d", i);
        c[i] = join(name);
    }
    snprintf(text, sizeof(text),
        "{\"type\":\"broadcast\",\"channel\":\"notifications\",\"self\":false,\"data\":\"%"
        "04000d\"}",
        0);
    for (int i = 0; i < 1000 && !stats.slow_resynced; i++) {
        client_send(c[0], text);
        client_send(c[0], "{\"type\":\"ping\"}");
        while (!strstr(client_read(c[0]), "pong"))
            ;
        for (int k = 1; k < USERS; k++) {
            client_send(c[k], "{\"type\":\"ping\"}");
            while (!strstr(client_read(c[k]), "pong"))
                ;
        }
        hub_stats(f.hub, &stats);
    }
    assert_int_equal(stats.slow_resynced, 1);
    for (int k = 0; k < USERS; k++)
        client_send(c[k], MOVE("77"));
    usleep(200000);
    while (!strstr(client_read(slow), "resync"))
        found += strstr(slow->text, "\"row\":77") != NULL;
    while (found < USERS)
        found += strstr(client_read(slow), "\"row\":77") != NULL;
    for (int k = 0; k < USERS; k++)
        client_free(c[k]);
    client_free(slow);
}

/* Where so little may wait that not even everybody's position does, it comes in parts. */
static void test_small_queue(void **state)
{
    enum { USERS = 40 };
    struct client *c[USERS];
    char name[16], move[320];

    (void)state;
    for (int i = 0; i < USERS; i++) {
        snprintf(name, sizeof(name), "u%d", i);
        c[i] = join(name);
    }
    for (int i = 0; i < USERS; i++)
        for (int k = i + 1; k < USERS; k++)
            client_expect_part(c[i], "user:joined");
    for (int step = 1; step <= 50; step++) {
        snprintf(move, sizeof(move),
            "{\"type\":\"user:cursor\",\"data\":{\"table\":\"t%0200d\",\"row\":%d}}", 0, step);
        for (int i = 0; i < USERS; i++)
            client_send(c[i], move);
    }
    for (int i = 0; i < USERS; i++)
        read_to_last(c[i], USERS - 1, "\"row\":50,");
    for (int i = 0; i < USERS; i++)
        client_free(c[i]);
}

/* The Nth allocation fails while somebody joins: present with everybody knowing, or closed. */
static void test_no_memory_to_join(void **state)
{
    struct client *witness = join("witness");
    bool hit = true;

    (void)state;
    for (long n = 0; hit && n < 200; n++) {
        struct client *c = client_as(&f, "ann");
        const char *got;

        mem_fail_after(n);
        client_send(c, JOIN);
        got = client_read(c);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (!got)
            assert_int_equal(c->code, WS_CLOSE_INTERNAL);
        else
            assert_non_null(strstr(got, "subscribed"));
        client_free(c);
        client_send(witness, "{\"type\":\"ping\"}");
        got = client_read(witness);
        if (!got) {
            assert_true(hit);
            assert_int_equal(witness->code, WS_CLOSE_INTERNAL);
            client_free(witness);
            witness = join("witness");
        }
        while (got && !strstr(got, "pong"))
            got = client_read(witness);
        usleep(2000);
        client_free(witness);
        witness = client_as(&f, "witness");
        for (int i = 0; i < 100; i++) {
            client_send(witness, JOIN);
            while ((got = client_read(witness)) && !strstr(got, "subscribed"))
                ;
            if (strstr(got, "\"userCount\":1}}"))
                break;
            usleep(10000);
        }
        assert_non_null(strstr(got, "\"userCount\":1}}"));
    }
    assert_false(hit);
    client_free(witness);
}

/* The next message that has the name of its user in it; NULL: closed. */
static const char *read_about(struct client *c, const char *name)
{
    const char *got;

    while ((got = client_read(c)) && !strstr(got, name))
        ;
    return got;
}

/* While somebody moves and goes: it is told in the end, or who could not be told was closed. */
static void test_no_memory_to_move(void **state)
{
    bool hit = true;

    (void)state;
    for (long n = 0; hit && n < 200; n++) {
        struct client *witness = join("witness"), *ann;
        const char *got;
        char name[32];

        snprintf(name, sizeof(name), "ann-%ld", n);
        ann = join(name);
        read_about(witness, name);
        mem_fail_after(n);
        client_send(ann, MOVE("1"));
        client_send(ann, "{\"type\":\"ping\"}");
        got = client_read(ann);
        usleep(2000);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (!got)
            assert_int_equal(ann->code, WS_CLOSE_INTERNAL);
        got = read_about(witness, name);
        if (got && ann->code && strstr(got, "\"row\":1"))
            got = read_about(witness, name);
        if (!got)
            assert_int_equal(witness->code, WS_CLOSE_INTERNAL);
        else
            assert_non_null(strstr(got, ann->code ? "user:left" : "\"row\":1"));
        if (got && !ann->code) {
            client_free(ann);
            assert_non_null(strstr(read_about(witness, name), "user:left"));
        } else {
            client_free(ann);
        }
        client_free(witness);
        for (int i = 0; i < 100; i++, usleep(5000)) {
            struct hub_stats stats;

            hub_stats(f.hub, &stats);
            if (!stats.connections)
                break;
        }
        usleep(5000);
    }
    assert_false(hit);
}

static void test_end(void **state)
{
    struct client *c[8];

    (void)state;
    for (int i = 0; i < 8; i++)
        c[i] = join(i % 2 ? "odd" : NULL);
    for (int i = 0; i < 200; i++) {
        client_send(c[i % 8], MOVE("1"));
        if (i % 5 == 0)
            client_send(c[i % 8], i % 2 ? JOIN : LEAVE);
    }
    hub_stop(f.hub, 0);
    for (int i = 0; i < 8; i++)
        client_free(c[i]);
}

static int small_setup(void **state)
{
    feed_options.max_queue = 16384;
    return setup(state);
}

static int resync_setup(void **state)
{
    feed_options.max_queue = 65536;
    feed_options.resync_slow = true;
    return setup(state);
}

static int three = 3;

#define ON_ONE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define ON_THREE(test)                                                                             \
    {                                                                                              \
#test " on three loops", test, setup, teardown, &three                                     \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ONE(test_transcript),
        ON_THREE(test_transcript),
        ON_ONE(test_two_tabs_are_one_user),
        ON_THREE(test_two_tabs_are_one_user),
        ON_THREE(test_nobody),
        ON_ONE(test_late_joiner),
        ON_THREE(test_late_joiner),
        ON_THREE(test_a_crowd),
        ON_ONE(test_slow_readers),
        ON_THREE(test_slow_readers),
        cmocka_unit_test_setup_teardown(test_small_queue, small_setup, teardown),
        cmocka_unit_test_setup_teardown(test_resync, resync_setup, teardown),
        ON_ONE(test_no_memory_to_join),
        ON_THREE(test_no_memory_to_join),
        ON_ONE(test_no_memory_to_move),
        ON_THREE(test_no_memory_to_move),
        ON_THREE(test_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
