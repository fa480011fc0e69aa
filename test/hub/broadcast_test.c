#include "hub_fixture.h"

#include "base/mem.h"
#include "base/status.h"
#include "hub/shard.h"
#include "net/ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What clients and the HTTP API send to channels, on one loop and on several. */

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
    return 0;
}

#define JOIN(channel) "{\"type\":\"subscribe\",\"channel\":\"" channel "\"}"

static void test_transcript(void **state)
{
    struct client *ann = client_as(&f, "ann"), *bob = client_as(&f, NULL);
    char from[128];

    (void)state;
    client_subscribe(ann, JOIN("room"));
    client_subscribe(bob, JOIN("room"));
    client_send(ann,
        "{\"type\":\"broadcast\",\"requestId\":1,\"channel\":\"room\",\"event\":\"say\","
        "\"data\":{\"text\":\"hi\"}}");
    snprintf(from, sizeof(from),
        "\"event\":\"say\",\"userId\":\"ann\",\"connectionId\":\"c\","
        "\"data\":{\"text\":\"hi\"}}");
    client_expect_part(bob, from);
    client_expect(ann, "{\"id\":\"c\",\"timestamp\":T,\"type\":\"broadcast\",\"channel\":\"room\","
                       "\"event\":\"say\",\"userId\":\"ann\",\"connectionId\":\"c\","
                       "\"data\":{\"text\":\"hi\"}}");
    client_expect(ann, "{\"id\":\"c\",\"timestamp\":T,\"type\":\"broadcast:ack\",\"requestId\":1,"
                       "\"channel\":\"room\",\"delivered\":2,\"data\":{\"channel\":\"room\","
                       "\"delivered\":2}}");
    client_send(bob, "{\"type\":\"broadcast\",\"channel\":\"room\",\"data\":1,\"self\":false}");
    client_expect_part(bob, "\"delivered\":1,");
    client_expect_part(ann, "\"userId\":null,");
    client_free(ann);
    client_free(bob);
}

static void test_everyone_but_who_left(void **state)
{
    struct client *c[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        c[i] = client_new(&f);
    client_send(c[0], "{\"type\":\"unsubscribe\",\"channel\":\"notifications\"}");
    client_expect_part(c[0], "unsubscribed");
    client_send(c[1], "{\"type\":\"subscribe\",\"channel\":\"notifications\",\"self\":false}");
    client_expect_part(c[1], "subscribed");
    client_send(c[1], "{\"type\":\"broadcast\",\"channel\":\"notifications\",\"data\":1}");
    client_expect_part(c[1], "\"delivered\":2,");
    client_expect_part(c[2], "\"channel\":\"notifications\"");
    client_expect_part(c[3], "\"channel\":\"notifications\"");
    for (int i = 0; i < 4; i++) {
        client_quiet(c[i]);
        client_free(c[i]);
    }
}

/* Acknowledged in the order sent, though loops are fast and slow by turns. */
static void test_order(void **state)
{
    enum { COUNT = 2000 };
    struct client *sender = client_new(&f), *room[6];
    char text[128];

    (void)state;
    for (int i = 0; i < 6; i++) {
        room[i] = client_new(&f);
        client_subscribe(room[i], JOIN("room"));
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text),
            "{\"type\":\"broadcast\",\"requestId\":%d,\"channel\":\"room\",\"data\":%d}", i, i);
        client_send(sender, text);
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), "\"requestId\":%d,\"channel\":\"room\",\"delivered\":6,", i);
        client_expect_part(sender, text);
    }
    for (int k = 0; k < 6; k++) {
        for (int i = 0; i < COUNT; i++) {
            snprintf(text, sizeof(text), "\"data\":%d}", i);
            client_expect_part(room[k], text);
        }
        client_quiet(room[k]);
        client_free(room[k]);
    }
    client_free(sender);
}

/*
 * It goes while its broadcasts are under way, and what it has not read ends the connection, perhaps
 * before all are read: what arrives is the first of them, in order, once.
 */
static void test_sender_leaves(void **state)
{
    struct client *room = client_new(&f);
    int next[20] = {0}, ended = 0;
    char text[128];

    (void)state;
    client_subscribe(room, JOIN("room"));
    for (int round = 0; round < 20; round++) {
        struct client *sender = client_new(&f);

        for (int i = 0; i < 50; i++) {
            snprintf(text, sizeof(text),
                "{\"type\":\"broadcast\",\"channel\":\"room\",\"data\":[%d,%d]}", round, i);
            client_send(sender, text);
        }
        client_free(sender);
    }
    for (int i = 0; i < 100; i++, usleep(5000)) {
        struct hub_stats stats;

        hub_stats(f.hub, &stats);
        if (stats.connections == 1)
            break;
    }
    client_send(room, "{\"type\":\"broadcast\",\"channel\":\"room\",\"data\":\"end\"}");
    while (!strstr(client_read(room), "broadcast:ack")) {
        int round, i;

        if (strstr(room->text, "\"end\"")) {
            ended++;
            continue;
        }
        assert_int_equal(
            sscanf(strstr(room->text, "\"data\":["), "\"data\":[%d,%d]", &round, &i), 2);
        assert_int_equal(i, next[round]++);
    }
    assert_int_equal(ended, 1);
    client_quiet(room);
    client_free(room);
}

static void test_refused(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    client_send(c, "{\"type\":\"broadcast\",\"requestId\":1,\"channel\":\"tables\",\"data\":1}");
    client_expect_part(c,
        "\"requestId\":1,\"error\":{\"code\":\"FORBIDDEN\",\"message\":\"only the "
        "server sends to the channel tables\"}");
    client_send(c, "{\"type\":\"broadcast\",\"channel\":\"a b\",\"data\":1}");
    client_expect_part(c, "INVALID_FORMAT");
    assert_true(hub_charge(f.hub, (size_t)64 << 20));
    client_send(c, "{\"type\":\"broadcast\",\"requestId\":2,\"channel\":\"x\",\"data\":1}");
    client_expect_part(c, "\"requestId\":2,\"error\":{\"code\":\"LIMIT_EXCEEDED\"");
    hub_discharge(f.hub, (size_t)64 << 20);
    client_send(c, "{\"type\":\"broadcast\",\"requestId\":3,\"channel\":\"x\",\"data\":1}");
    client_expect_part(c, "\"requestId\":3,\"channel\":\"x\",\"delivered\":0");
    client_free(c);
}

static void test_from_outside(void **state)
{
    struct hub_message m = {.channel = "room", .event = "note", .data = "[1]", .data_len = 3};
    struct client *c[5];
    uint64_t delivered;
    unsigned pending;

    (void)state;
    for (int i = 0; i < 5; i++) {
        c[i] = client_new(&f);
        client_subscribe(c[i], JOIN("room"));
    }
    assert_int_equal(hub_broadcast(f.hub, &m, 5000, &delivered, &pending), 0);
    assert_int_equal(delivered, 5);
    assert_int_equal(pending, 0);
    for (int i = 0; i < 5; i++)
        client_expect_part(c[i], "\"type\":\"note\",\"channel\":\"room\",\"event\":\"note\","
                                 "\"userId\":null,\"data\":[1]}");
    m.data_len = feed_options.max_message + 1;
    assert_int_equal(hub_broadcast(f.hub, &m, 5000, &delivered, &pending), STATUS_TOO_LARGE);
    m.data_len = 3;
    assert_true(hub_charge(f.hub, (size_t)64 << 20));
    assert_int_equal(hub_broadcast(f.hub, &m, 5000, &delivered, &pending), STATUS_CONFLICT);
    hub_discharge(f.hub, (size_t)64 << 20);
    for (int i = 0; i < 5; i++) {
        client_quiet(c[i]);
        client_free(c[i]);
    }
    hub_stop(f.hub, 0);
    assert_int_equal(hub_broadcast(f.hub, &m, 5000, &delivered, &pending), 0);
    assert_int_equal(delivered, 0);
}

/* The Nth allocation fails: the sender is acknowledged or closed, a member gets it or is closed. */
static void test_memory_runs_out(void **state)
{
    bool hit = true;

    (void)state;
    for (long n = 0; hit && n < 200; n++) {
        struct client *sender = client_new(&f), *room[2] = {client_new(&f), client_new(&f)};
        const char *got;

        for (int i = 0; i < 2; i++)
            client_subscribe(room[i], JOIN("room"));
        mem_fail_after(n);
        client_send(sender, "{\"type\":\"broadcast\",\"channel\":\"room\",\"data\":\"hello\"}");
        got = client_read(sender);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (!got)
            assert_int_equal(sender->code, WS_CLOSE_INTERNAL);
        assert_true(hit || (got && strstr(got, "\"delivered\":2,")));
        for (int i = 0; i < 2; i++) {
            client_send(room[i], "{\"type\":\"ping\"}");
            got = client_read(room[i]);
            assert_true(hit || strstr(got, "\"hello\""));
            if (!got)
                assert_int_equal(room[i]->code, WS_CLOSE_INTERNAL);
            client_free(room[i]);
        }
        client_free(sender);
    }
    assert_false(hit);
}

/* The hub ends with broadcasts on their way between its loops. */
static void test_end(void **state)
{
    struct client *c[8];

    (void)state;
    for (int i = 0; i < 8; i++) {
        c[i] = client_new(&f);
        client_subscribe(c[i], JOIN("room"));
    }
    for (int i = 0; i < 400; i++)
        client_send(c[i % 8], "{\"type\":\"broadcast\",\"channel\":\"room\",\"data\":1}");
    hub_stop(f.hub, 0);
    for (int i = 0; i < 8; i++)
        client_free(c[i]);
}

static int four = 4;

#define ON_ONE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define ON_FOUR(test)                                                                              \
    {                                                                                              \
#test " on four loops", test, setup, teardown, &four                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ONE(test_transcript),
        ON_FOUR(test_everyone_but_who_left),
        ON_ONE(test_order),
        ON_FOUR(test_order),
        ON_ONE(test_sender_leaves),
        ON_FOUR(test_sender_leaves),
        ON_FOUR(test_refused),
        ON_FOUR(test_from_outside),
        ON_ONE(test_memory_runs_out),
        ON_FOUR(test_memory_runs_out),
        ON_FOUR(test_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
