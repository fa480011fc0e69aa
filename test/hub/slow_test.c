#include "hub_fixture.h"

#include "base/mem.h"
#include "hub/hub.h"
#include "net/ws.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct feed f;
static struct table *texts;
static int last;

static void start(size_t max_queue, size_t slow_queue, int64_t slow_ms, bool resync)
{
    feed_options.max_queue = max_queue;
    feed_options.slow_queue = slow_queue;
    feed_options.slow_ms = slow_ms;
    feed_options.resync_slow = resync;
    feed_options.history = 1 << 26;
    texts = TABLE("texts", "id:INTEGER:k", "text:TEXT:");
    texts->rowid_alias = 0;
    feed_start(&f, schema_of(texts, NULL));
    last = 0;
}

static int setup(void **state)
{
    (void)state;
    feed_options = (struct hub_options){.loops = 1,
        .max_message = 1 << 20,
        .max_queue = 1 << 20,
        .max_connections = 100,
        .max_subscriptions = 100,
        .version = "test",
        .epoch = "e1"};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    feed_stop(&f);
    return 0;
}

/* Rows of a kilobyte, so that a socket's buffer does not take them all. */
static void insert(int count)
{
    static char text[1000];

    memset(text, 'x', sizeof(text));
    while (count-- > 0) {
        struct value row[2] = {
            INTEGER(++last), {.p = text, .len = sizeof(text), .type = VALUE_TEXT}};

        feed_insert(&f, texts, row);
        feed_commit(&f, 0, NULL);
        feed_publish(&f);
    }
}

#define SUBSCRIBE "{\"type\":\"subscribe\",\"table\":\"texts\""

static unsigned long number(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? strtoul(at + strlen(name), NULL, 10) : 0;
}

static void expect_changes(struct client *c, int first, int until)
{
    for (int i = first; i <= until; i++) {
        const char *got = client_read(c);

        assert_non_null(got);
        assert_int_equal(number(got, "\"seq\":"), i);
        assert_non_null(strstr(got, "database_change"));
    }
}

/* Waits until the loop has handled everything: a client that keeps up has it all. */
static void settle(struct client *quick, int from)
{
    expect_changes(quick, from + 1, last);
}

static void closed_past_the_hard_bound(void **state)
{
    struct client *stuck, *quick;
    const char *got;
    int seq = 0;

    (void)state;
    start(1 << 20, 0, 0, false);
    stuck = client_new(&f);
    quick = client_new(&f);
    client_subscribe(stuck, SUBSCRIBE "}");
    client_subscribe(quick, SUBSCRIBE "}");
    for (int i = 0; i < 40; i++) {
        insert(100);
        settle(quick, last - 100);
    }
    while ((got = client_read(stuck)) && !strstr(got, "resync"))
        assert_int_equal(number(got, "\"seq\":"), ++seq);
    assert_non_null(got);
    assert_non_null(strstr(got, "\"reason\":\"slow_consumer\""));
    client_expect_close(stuck, WS_CLOSE_TRY_LATER);
    client_free(stuck);
    client_free(quick);
}

/* Less than the hard bound, but for too long. */
static void closed_past_the_soft_bound(void **state)
{
    struct client *stuck, *quick;
    const char *got;

    (void)state;
    start(64 << 20, 300000, 1, false);
    stuck = client_new(&f);
    quick = client_new(&f);
    client_subscribe(stuck, SUBSCRIBE "}");
    client_subscribe(quick, SUBSCRIBE "}");
    for (int i = 0; i < 20; i++) {
        insert(100);
        settle(quick, last - 100);
    }
    usleep(2200000); /* two ticks of the loop */
    do
        got = client_read(stuck);
    while (got && !strstr(got, "resync"));
    assert_non_null(got);
    client_expect_close(stuck, WS_CLOSE_TRY_LATER);
    client_quiet(quick);
    client_free(stuck);
    client_free(quick);
}

/*
 * Reads until the last change: whole up to the resync, and whole again from the seq that it names.
 * One pong comes somewhere.
 */
static void expect_one_gap(struct client *c, unsigned long seq)
{
    int resyncs = 0, pongs = 0;

    while (!resyncs || !pongs || seq < (unsigned long)last) {
        const char *got = client_read(c);

        assert_non_null(got);
        if (strstr(got, "\"resync\"")) {
            assert_non_null(strstr(got, "\"reason\":\"slow_consumer\""));
            assert_null(strstr(got, "subscription"));
            assert_true(number(got, "\"seq\":") > seq);
            seq = number(got, "\"seq\":");
            resyncs++;
        } else if (strstr(got, "\"pong\"")) {
            pongs++;
        } else {
            assert_int_equal(number(got, "\"seq\":"), ++seq);
        }
    }
    assert_int_equal(resyncs, 1);
    assert_int_equal(pongs, 1);
}

static void told_to_resynchronise(void **state)
{
    struct client *stuck, *quick;
    struct hub_stats stats;

    (void)state;
    start(1 << 20, 0, 0, true);
    stuck = client_new(&f);
    quick = client_new(&f);
    client_subscribe(stuck, SUBSCRIBE "}");
    client_subscribe(quick, SUBSCRIBE "}");
    for (int round = 0; round < 3; round++) {
        unsigned long seq = (unsigned long)last;

        for (int i = 0; i < 40; i++) {
            insert(100);
            settle(quick, last - 100);
        }
        /* A reply comes however much is waiting. */
        client_send(stuck, "{\"type\":\"ping\",\"sentAt\":7}");
        client_quiet(quick);
        expect_one_gap(stuck, seq);
        client_quiet(stuck);
    }
    hub_stats(f.hub, &stats);
    assert_int_equal(stats.slow_resynced, 3);
    assert_int_equal(stats.slow_closed, 0);
    assert_int_equal(stats.queued_bytes, 0);
    client_free(stuck);
    client_free(quick);
}

/* A replay, a transaction under way in batches and a membership are part of what is forgotten. */
static void everything_of_the_session_is_forgotten(void **state)
{
    struct client *stuck, *quick;
    unsigned long seq;
    const char *got;

    (void)state;
    start(1 << 20, 0, 0, true);
    quick = client_new(&f);
    client_subscribe(quick, SUBSCRIBE "}");
    for (int i = 0; i < 30; i++) {
        insert(100);
        settle(quick, last - 100);
    }
    stuck = client_new(&f);
    client_send(stuck, SUBSCRIBE ",\"since\":0,\"requestId\":\"a\"}");
    client_send(stuck, SUBSCRIBE ",\"batch\":true}");
    client_send(stuck, "{\"type\":\"subscribe\",\"channel\":\"tables\"}");
    client_expect_part(stuck, "\"requestId\":\"a\"");
    for (int i = 0; i < 40; i++) {
        insert(100);
        settle(quick, last - 100);
    }
    do
        got = client_read(stuck);
    while (got && !strstr(got, "\"reason\":\"slow_consumer\""));
    assert_non_null(got);
    seq = number(got, "\"seq\":");
    insert(1);
    settle(quick, last - 1);
    for (unsigned long i = seq + 1; i <= (unsigned long)last; i++) {
        client_expect_part(stuck, "\"subscriptions\":[\"s1\"]");
        client_expect_part(stuck, "\"type\":\"changes\"");
    }
    client_quiet(stuck);
    client_free(stuck);
    client_free(quick);
}

/* Replies cannot be forgotten: a client that asks and asks without reading is closed. */
static void replies_alone_are_too_much(void **state)
{
    static char ping[400];
    struct client *stuck;

    (void)state;
    start(64 << 10, 0, 0, true);
    stuck = client_new(&f);
    snprintf(ping, sizeof(ping), "{\"type\":\"ping\",\"sentAt\":\"%0250d\"}", 1);
    for (int i = 0; i < 4000; i++)
        client_send(stuck, ping);
    client_expect_part(stuck, "pong");
    while (client_read(stuck))
        continue;
    assert_int_equal(stuck->code, WS_CLOSE_TRY_LATER);
    client_free(stuck);
}

static void leaving_while_slow(void **state)
{
    struct client *stuck, *quick;

    (void)state;
    start(1 << 20, 0, 0, true);
    quick = client_new(&f);
    client_subscribe(quick, SUBSCRIBE "}");
    for (int i = 0; i < 3; i++) {
        stuck = client_new(&f);
        client_subscribe(stuck, SUBSCRIBE "}");
        for (int k = 0; k < 30; k++) {
            insert(100);
            settle(quick, last - 100);
        }
        if (i == 1)
            client_send(stuck, "{\"type\":\"unsubscribe\"}");
        client_free(stuck);
        client_quiet(quick);
    }
    client_free(quick);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(closed_past_the_hard_bound),
        CASE(closed_past_the_soft_bound),
        CASE(told_to_resynchronise),
        CASE(everything_of_the_session_is_forgotten),
        CASE(replies_alone_are_too_much),
        CASE(leaving_while_slow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
