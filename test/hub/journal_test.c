#include "hub_fixture.h"

#include "base/status.h"
#include "fake_pager.h"
#include "net/ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Resuming where memory does not reach back far enough: pages of the journal, then the history. */

static struct feed f;
static struct table *users;
static struct database *db;

/* A server that has begun anew over a journal with what f has published so far. */
static void restart(void)
{
    struct feed before = f;
    struct database *old = db;

    feed_options.db = db = fake_pager_new();
    db->journal = true;
    for (size_t i = 0; old && i < old->batch_count; i++)
        fake_pager_record(db, old->batches[i]);
    if (old) {
        feed_options.db = old;
        feed_stop(&before);
        feed_options.db = db;
    }
    feed_options.seq = before.seq;
    feed_start(&f, schema_of(table_ref(users), NULL));
    db->schema = schema_ref(f.schema);
    f.seq = before.seq;
    f.tx = before.tx;
}

static int setup(void **state)
{
    (void)state;
    users = TABLE("users", "id:INTEGER:k", "age:INTEGER:");
    f = (struct feed){0};
    db = NULL;
    restart();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    feed_stop(&f);
    table_unref(users);
    feed_options.history = 1 << 26;
    feed_options.max_queue = 1 << 20;
    feed_options.seq = 0;
    return 0;
}

static void insert(int from, int to)
{
    for (int i = from; i <= to; i++) {
        feed_insert(&f, users, ROW(INTEGER(i), INTEGER(i % 10)));
        feed_commit(&f, 0, NULL);
        feed_publish(&f);
    }
}

static void expect_changes(struct client *c, int first, int last)
{
    char part[80];

    for (int i = first; i <= last; i++) {
        snprintf(part, sizeof(part), "{\"subscriptions\":[\"s1\"],\"id\":\"e1:%d\"", i);
        client_expect_part(c, part);
    }
}

#define USERS "{\"type\":\"subscribe\",\"table\":\"users\""

static void test_after_a_restart(void **state)
{
    static const char *const since[] = {
        "\"since\":0", "\"since\":\"earliest\"", "\"since\":\"e1:0\"", "\"since\":417"};
    char text[100], part[60];

    (void)state;
    insert(1, 1000);
    restart();
    for (size_t i = 0; i < 4; i++) {
        struct client *c = client_new(&f);
        int after = i == 3 ? 417 : 0;

        snprintf(text, sizeof(text), USERS ",%s}", since[i]);
        client_send(c, text);
        snprintf(part, sizeof(part), "\"seq\":%d,\"recovered\":true}}", after);
        client_expect_part(c, part);
        insert((int)f.seq + 1, (int)f.seq + 5);
        expect_changes(c, after + 1, (int)f.seq);
        client_quiet(c);
        client_free(c);
    }
}

/* Wherever a page ends, a transaction is one message, or says that more follows. */
static void test_transactions_over_pages(void **state)
{
    (void)state;
    for (int t = 1; t <= 30; t++) {
        for (int i = 0; i < t; i++)
            feed_insert(&f, users, ROW(INTEGER(100 * t + i), INTEGER(1)));
        feed_commit(&f, 0, NULL);
        if (t % 4 == 0)
            feed_publish(&f);
    }
    feed_publish(&f);
    restart();
    for (uint32_t page = 1; page < 40; page += page < 8 ? 1 : 7) {
        struct client *c = client_new(&f);
        int seq = 0;

        fake_pager_hold(db);
        db->page_changes = page;
        fake_pager_release(db);
        client_subscribe(c, USERS ",\"since\":0,\"batch\":true}");
        for (int t = 1; t <= 30; t++) {
            char part[80];
            int items = 0;

            seq += t;
            snprintf(part, sizeof(part),
                "\"type\":\"changes\",\"channel\":\"tables\",\"seq\":%d,\"tx\":%d", seq, t);
            client_expect_part(c, part);
            assert_null(strstr(c->text, "\"more\""));
            for (const char *p = c->text; (p = strstr(p, "database_change")); p++)
                items++;
            assert_int_equal(items, t);
        }
        client_quiet(c);
        client_free(c);
    }
}

static void test_trimmed(void **state)
{
    struct client *c;

    (void)state;
    insert(1, 500);
    restart();
    db->kept_after = 200;
    c = client_new(&f);
    client_send(c, USERS ",\"since\":199}");
    client_expect_part(c, "\"seq\":500,\"recovered\":false}}");
    client_expect_part(c, "\"reason\":\"history_lost\"");
    client_send(c, "{\"type\":\"unsubscribe\"}");
    client_expect_part(c, "unsubscribed");
    client_send(c, USERS ",\"since\":\"earliest\"}");
    client_expect_part(c, "\"seq\":200,\"recovered\":true}}");
    for (int i = 201; i <= 500; i++)
        assert_non_null(client_read(c));
    client_quiet(c);
    client_free(c);
}

/* It is trimmed, or cannot be read, between the answer and the page. */
static void test_lost_on_the_way(void **state)
{
    static const int ways[] = {STATUS_NOT_FOUND, STATUS_IO, STATUS_NOMEM, STATUS_CLOSED};

    (void)state;
    insert(1, 500);
    restart();
    for (size_t i = 0; i < 4; i++) {
        struct client *c = client_new(&f);
        int seq = (int)f.seq;

        fake_pager_hold(db);
        db->fail_past = ways[i];
        fake_pager_release(db);
        client_send(c, USERS ",\"since\":100}");
        client_expect_part(c, "\"recovered\":true");
        client_expect_part(c, "\"reason\":\"history_lost\"");
        insert(seq + 1, seq + 1);
        expect_changes(c, seq + 1, seq + 1);
        client_quiet(c);
        client_free(c);
    }
}

/* The journal has what the loop has yet to hear. */
static void test_a_journal_ahead(void **state)
{
    struct feed ahead;
    struct client *c;

    (void)state;
    insert(1, 250);
    ahead = f;
    f.seq = 120;
    restart();
    c = client_new(&f);
    client_subscribe(c, USERS ",\"since\":50}");
    expect_changes(c, 51, 120);
    client_quiet(c);
    db->journal = false; /* these are in it */
    insert(121, 250);
    db->journal = true;
    assert_int_equal(f.seq, ahead.seq);
    expect_changes(c, 121, 250);
    client_quiet(c);
    client_free(c);
}

/* As test_a_reader_too_slow_for_the_history, but nothing is lost. */
static void test_memory_is_left_behind(void **state)
{
    struct client *c;

    (void)state;
    feed_options.history = 20000;
    restart();
    c = client_new(&f);
    insert(1, 3000);
    client_subscribe(c, USERS ",\"since\":0}");
    insert(3001, 4000);
    expect_changes(c, 1, 4000);
    insert(4001, 4002);
    expect_changes(c, 4001, 4002);
    client_quiet(c);
    client_free(c);
}

/* Many at once share the places, and those that do not read give theirs up. */
static void test_many_and_some_stuck(void **state)
{
    enum { STUCK = 20, READING = 40, ROWS = 6000 };
    static struct client *stuck[STUCK], *reading[READING];

    (void)state;
    feed_options.max_queue = 200000;
    insert(1, ROWS);
    restart();
    db->page_changes = 50;
    for (int i = 0; i < STUCK; i++) {
        stuck[i] = client_new(&f);
        client_send(stuck[i], USERS ",\"since\":0}");
    }
    usleep(300000);
    for (int i = 0; i < READING; i++) {
        reading[i] = client_new(&f);
        client_subscribe(reading[i], i % 2 ? USERS ",\"since\":5500}" : USERS ",\"since\":5000}");
    }
    for (int i = 0; i < READING; i++) {
        expect_changes(reading[i], i % 2 ? 5501 : 5001, ROWS);
        client_quiet(reading[i]);
    }
    assert_in_range(fake_pager_count(db, &db->most_under_way), 1, 16);
    for (int i = 0; i < STUCK; i++) {
        client_expect_part(stuck[i], "\"recovered\":true");
        expect_changes(stuck[i], 1, ROWS);
        client_quiet(stuck[i]);
        client_free(stuck[i]);
    }
    for (int i = 0; i < READING; i++)
        client_free(reading[i]);
}

/* Going away and stopping with pages under way. */
static void test_leaving(void **state)
{
    (void)state;
    insert(1, 2000);
    for (int round = 0; round < 12; round++) {
        static struct client *c[24];

        restart();
        db->page_changes = 20;
        db->delay_us = round % 3 * 200;
        if (round % 4 == 3)
            fake_pager_hold(db);
        for (int i = 0; i < 24; i++) {
            c[i] = client_new(&f);
            client_send(c[i], USERS ",\"since\":0}");
            if (i % 3 == 0)
                client_send(c[i], "{\"type\":\"unsubscribe\"}");
        }
        usleep((unsigned)round * 500);
        for (int i = 0; i < 24; i += 2)
            client_free(c[i]);
        if (round % 2) {
            fake_pager_release(db);
            for (int i = 1; i < 24; i += 2)
                client_free(c[i]);
            c[0] = client_new(&f);
            client_subscribe(c[0], USERS ",\"since\":1990}");
            expect_changes(c[0], 1991, 2000);
            client_quiet(c[0]);
            client_free(c[0]);
        } else {
            restart();
            for (int i = 1; i < 24; i += 2)
                client_free(c[i]);
        }
    }
}

/* A snapshot goes on from the journal where memory is too short. */
static void test_a_snapshot_without_history(void **state)
{
    struct client *c;

    (void)state;
    feed_options.history = 0;
    restart();
    c = client_new(&f);
    db->rows = 1;
    insert(1, 10);
    db->seq = 10;
    fake_pager_hold(db);
    client_send(c, USERS ",\"snapshot\":true}");
    fake_pager_expect_waiting(db, 1);
    insert(11, 200);
    fake_pager_release(db);
    client_expect_part(c, "\"seq\":10}}");
    client_expect_part(c, "\"last\":true");
    expect_changes(c, 11, 200);
    insert(201, 201);
    expect_changes(c, 201, 201);
    client_quiet(c);
    client_free(c);
}

/* The past as asked for, or the connection ends, or a resync says that it is lost. */
static void test_memory(void **state)
{
    bool hit = true;

    (void)state;
    insert(1, 5);
    restart();
    for (long n = 0; hit && n < 1000; n++) {
        struct client *c = client_new(&f);
        const char *got;
        int seq = 1;

        mem_fail_after(n);
        client_send(c, USERS ",\"since\":1,\"columns\":[\"age\"],\"batch\":true}");
        got = client_read(c);
        while (got && seq < 5 && (got = client_read(c)) && !strstr(got, "resync"))
            seq++;
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (got) {
            assert_true(seq == 5 || strstr(got, "history_lost"));
            client_quiet(c);
        } else {
            assert_true(hit);
            assert_int_equal(c->code, WS_CLOSE_INTERNAL);
        }
        client_free(c);
    }
    assert_false(hit);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_after_a_restart),
        CASE(test_transactions_over_pages),
        CASE(test_trimmed),
        CASE(test_lost_on_the_way),
        CASE(test_a_journal_ahead),
        CASE(test_memory_is_left_behind),
        CASE(test_many_and_some_stuck),
        CASE(test_leaving),
        CASE(test_a_snapshot_without_history),
        CASE(test_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
