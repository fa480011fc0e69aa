#include "hub_fixture.h"

#include "base/mem.h"
#include "fake_pager.h"
#include "net/ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A transaction so large that it comes in several batches. */

static struct feed f;
static struct table *users;
static int last;

static int setup(void **state)
{
    (void)state;
    users = TABLE("users", "id:INTEGER:k", "age:INTEGER:", "text:TEXT:");
    last = 0;
    feed_start(&f, schema_of(table_ref(users), NULL));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    feed_stop(&f);
    table_unref(users);
    feed_options.history = 1 << 26;
    feed_options.max_queue = 1 << 20;
    feed_options.resync_slow = false;
    feed_options.seq = 0;
    return 0;
}

enum part { WHOLE, FIRST, MIDDLE, END };

static void insert(int count, size_t size)
{
    static char text[4000];

    memset(text, 'x', sizeof(text));
    while (count-- > 0) {
        last++;
        feed_insert(&f, users,
            ROW(INTEGER(last), INTEGER(last % 10),
                {.p = text, .len = (uint32_t)size, .type = VALUE_TEXT}));
    }
}

static void publish(enum part part)
{
    feed_commit(&f, 0, NULL);
    f.batch->continued = part == MIDDLE || part == END;
    f.batch->continues = part == FIRST || part == MIDDLE;
    feed_publish(&f);
}

static void put(enum part part, int count)
{
    insert(count, 1);
    publish(part);
}

/* The next message is the transaction's changes first..until for that subscription. */
static void expect(struct client *c, const char *sub, int tx, int first, int until, bool more)
{
    char part[100];
    const char *p;

    snprintf(part, sizeof(part), "\"seq\":%d,\"tx\":%d,", until, tx);
    client_expect_part(c, part);
    assert_non_null(strstr(c->text, "\"type\":\"changes\""));
    assert_int_equal(strstr(c->text, "\"more\":true") != NULL, more);
    p = strstr(c->text, "\"changes\":[");
    for (int seq = first; seq <= until; seq++) {
        snprintf(part, sizeof(part), "{\"subscriptions\":[%s],\"id\":\"e1:%d\"", sub, seq);
        p = strstr(p, part);
        assert_non_null(p);
        p += strlen(part);
    }
    assert_null(strstr(p, "\"id\":\"e1:"));
}

/* The end of one of which everything was sent before. */
static void expect_end(struct client *c, int tx)
{
    char part[30];

    snprintf(part, sizeof(part), "\"tx\":%d,", tx);
    client_expect_part(c, part);
    assert_non_null(strstr(c->text, "\"changes\":[]"));
    assert_null(strstr(c->text, "\"more\""));
}

#define USERS "{\"type\":\"subscribe\",\"table\":\"users\""
#define S1 "\"s1\""
#define S2 "\"s2\""

static void test_one_message(void **state)
{
    struct client *whole = client_new(&f), *single = client_new(&f), *few = client_new(&f);

    (void)state;
    client_subscribe(whole, USERS ",\"batch\":true}");
    client_subscribe(single, USERS "}");
    client_subscribe(few, USERS ",\"batch\":true,\"filter\":\"id in (1,6)\"}");
    put(WHOLE, 1);
    put(FIRST, 2);
    put(MIDDLE, 2);
    expect(few, S1, 1, 1, 1, false);
    client_quiet(few);
    put(END, 2);
    put(WHOLE, 1);
    expect(whole, S1, 1, 1, 1, false);
    expect(whole, S1, 2, 2, 7, false);
    expect(whole, S1, 3, 8, 8, false);
    for (int seq = 1; seq <= 8; seq++) {
        char part[80];

        snprintf(part, sizeof(part), "\"channel\":\"tables\",\"seq\":%d,\"tx\":%d,", seq,
            seq == 1   ? 1
            : seq == 8 ? 3
                       : 2);
        client_expect_part(single, part);
    }
    expect(few, S1, 2, 6, 6, false);
    client_quiet(whole);
    client_quiet(single);
    client_quiet(few);
    client_free(whole);
    client_free(single);
    client_free(few);
}

/* Other transactions stand in the batches where it begins and ends. */
static void test_neighbours(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    client_subscribe(c, USERS ",\"batch\":true}");
    insert(1, 1);
    feed_commit(&f, 0, NULL);
    insert(2, 1);
    publish(FIRST);
    expect(c, S1, 1, 1, 1, false);
    client_quiet(c);
    insert(2, 1);
    feed_commit(&f, 0, NULL);
    insert(1, 1);
    publish(END);
    expect(c, S1, 2, 2, 5, false);
    expect(c, S1, 3, 6, 6, false);
    /* One ends and another begins in the same batch. */
    put(FIRST, 1);
    insert(1, 1);
    feed_commit(&f, 0, NULL);
    insert(1, 1);
    publish(MIDDLE);
    expect(c, S1, 4, 7, 8, false);
    client_quiet(c);
    put(END, 1);
    expect(c, S1, 5, 9, 10, false);
    client_quiet(c);
    client_free(c);
}

/* What is large does not wait in memory, and the end comes if only by itself. */
static void test_much_is_sent_at_once(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    client_subscribe(c, USERS ",\"batch\":true}");
    insert(10, 4000);
    publish(FIRST);
    expect(c, S1, 1, 1, 10, true);
    insert(10, 4000);
    publish(MIDDLE);
    expect(c, S1, 1, 11, 20, true);
    feed_delete(&f, users, ROW(INTEGER(1), INTEGER(1), TEXT("")));
    publish(END);
    expect(c, S1, 1, 21, 21, false);
    client_free(c);
    c = client_new(&f);
    client_subscribe(c, USERS ",\"batch\":true,\"filter\":\"id<=25\"}");
    insert(5, 4000);
    publish(FIRST);
    expect(c, S1, 2, 22, 26, true);
    last = 30;
    put(END, 1);
    expect_end(c, 2);
    client_quiet(c);
    client_free(c);
}

static void test_unsubscribing_on_the_way(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    client_subscribe(c, USERS ",\"batch\":true}");
    client_subscribe(c, USERS ",\"batch\":true}");
    client_subscribe(c, USERS "}");
    put(FIRST, 1);
    client_expect_part(c, "{\"subscriptions\":[\"s3\"]");
    /* What names it comes before the answer. */
    client_send(c, "{\"type\":\"unsubscribe\",\"subscription\":\"s2\"}");
    expect(c, S1 "," S2, 1, 1, 1, true);
    client_expect_part(c, "unsubscribed");
    put(MIDDLE, 1);
    client_expect_part(c, "{\"subscriptions\":[\"s3\"]");
    put(END, 1);
    client_expect_part(c, "{\"subscriptions\":[\"s3\"]");
    expect(c, S1, 1, 2, 3, false);
    put(FIRST, 1);
    client_expect_part(c, "{\"subscriptions\":[\"s3\"]");
    client_send(c, "{\"type\":\"unsubscribe\",\"subscription\":\"s1\"}");
    client_expect_part(c, "unsubscribed");
    put(END, 1);
    client_expect_part(c, "{\"subscriptions\":[\"s3\"]");
    client_quiet(c);
    put(FIRST, 1);
    client_expect_part(c, "{\"subscriptions\":[\"s3\"]");
    client_subscribe(c, USERS ",\"batch\":true}");
    put(MIDDLE, 1);
    client_expect_part(c, "{\"subscriptions\":[\"s3\"]");
    client_send(c, "{\"type\":\"unsubscribe\"}");
    client_expect_part(c, "\"subscriptions\":[\"s3\",\"s4\"]");
    put(END, 1);
    client_quiet(c);
    client_free(c);
}

static void test_leaving_on_the_way(void **state)
{
    struct client *c[8];

    (void)state;
    for (int i = 0; i < 8; i++) {
        c[i] = client_new(&f);
        client_subscribe(c[i], USERS ",\"batch\":true}");
    }
    for (int i = 0; i < 7; i++) {
        put(i ? MIDDLE : FIRST, 1);
        client_quiet(c[7]);
        client_free(c[i]);
    }
    put(END, 1);
    expect(c[7], S1, 1, 1, 8, false);
    client_quiet(c[7]);
    /* And the server's end finds one open. */
    put(FIRST, 1);
    client_quiet(c[7]);
    client_free(c[7]);
}

/* What was collected for a slow consumer is lost with the rest; it goes on in mid-transaction. */
static void test_slow_on_the_way(void **state)
{
    struct client *stuck, *quick;
    const char *got;
    int seq;

    (void)state;
    feed_stop(&f);
    feed_options.resync_slow = true;
    feed_start(&f, schema_of(table_ref(users), NULL));
    stuck = client_new(&f);
    quick = client_new(&f);
    client_subscribe(stuck, USERS ",\"batch\":true,\"columns\":[\"id\"]}");
    client_subscribe(stuck, USERS "}");
    client_subscribe(quick, USERS ",\"filter\":\"age=0\",\"columns\":[\"id\"]}");
    for (int i = 0; i < 150; i++) {
        insert(20, 4000);
        publish(i ? MIDDLE : FIRST);
        client_expect_part(quick, "\"seq\"");
        client_expect_part(quick, "\"seq\"");
    }
    do
        got = client_read(stuck);
    while (got && !strstr(got, "slow_consumer"));
    assert_non_null(got);
    seq = (int)strtol(strstr(got, "\"seq\":") + 6, NULL, 10);
    assert_in_range(seq, 200, last);
    for (int i = seq + 1; i <= last; i++)
        client_expect_part(stuck, "\"database_change\"");
    client_quiet(stuck);
    put(END, 3);
    for (int i = 0; i < 3; i++)
        client_expect_part(stuck, "{\"subscriptions\":[\"s2\"]");
    expect(stuck, S1, 1, seq + 1, last, false);
    client_quiet(stuck);
    client_free(stuck);
    client_free(quick);
}

/* Subscriptions that come from the past to the present in the middle of it. */
static void test_a_replay_arrives_on_the_way(void **state)
{
    struct client *one = client_new(&f), *both = client_new(&f);

    (void)state;
    client_subscribe(both, USERS ",\"batch\":true}");
    put(WHOLE, 1);
    expect(both, S1, 1, 1, 1, false);
    put(FIRST, 2);
    client_subscribe(one, USERS ",\"batch\":true,\"since\":0}");
    expect(one, S1, 1, 1, 1, false);
    client_subscribe(both, USERS ",\"batch\":true,\"since\":2}");
    /* What was live has collected changes of its own. */
    expect(both, S2, 2, 3, 3, true);
    client_quiet(one);
    put(MIDDLE, 1);
    client_quiet(one);
    put(END, 1);
    put(WHOLE, 1);
    expect(one, S1, 2, 2, 5, false);
    expect(one, S1, 3, 6, 6, false);
    client_expect_part(both, "\"type\":\"changes\"");
    for (int seq = 2; seq <= 5; seq++) {
        char part[80];

        snprintf(part, sizeof(part), "{\"subscriptions\":[%s],\"id\":\"e1:%d\"",
            seq < 4 ? S1 : S1 "," S2, seq);
        assert_non_null(strstr(both->text, part));
    }
    expect(both, S1 "," S2, 3, 6, 6, false);
    client_quiet(both);
    client_free(one);
    client_free(both);
}

/* All that is behind it is a whole. */
static void test_from_the_history(void **state)
{
    (void)state;
    put(FIRST, 3);
    put(MIDDLE, 1);
    put(END, 2);
    put(FIRST, 1);
    put(END, 1);
    for (int since = 0; since <= 8; since++) {
        struct client *c = client_new(&f);
        char text[100];

        snprintf(text, sizeof(text), USERS ",\"batch\":true,\"since\":\"e1:%d\"}", since);
        client_subscribe(c, text);
        if (since < 6)
            expect(c, S1, 1, since + 1, 6, false);
        if (since < 8)
            expect(c, S1, 2, since < 6 ? 7 : since + 1, 8, false);
        client_quiet(c);
        client_free(c);
    }
}

/* Between the batches the history loses the first of them. */
static void test_the_history_is_trimmed(void **state)
{
    struct client *c;
    int kept;

    (void)state;
    feed_stop(&f);
    feed_options.history = 300000;
    feed_start(&f, schema_of(table_ref(users), NULL));
    c = client_new(&f);
    for (int i = 0; i < 10; i++) {
        insert(20, 4000);
        publish(i ? MIDDLE : FIRST);
    }
    client_send(c, USERS ",\"batch\":true,\"since\":10}");
    client_expect_part(c, "\"recovered\":false");
    client_expect_part(c, "history_lost");
    client_send(c, "{\"type\":\"unsubscribe\"}");
    client_expect_part(c, "unsubscribed");
    client_send(c, USERS ",\"batch\":true,\"columns\":[\"id\"],\"since\":\"earliest\"}");
    client_expect_part(c, "\"recovered\":true");
    kept = (int)strtol(strstr(c->text, "\"seq\":") + 6, NULL, 10);
    assert_in_range(kept, 20, 199);
    client_quiet(c);
    put(END, 1);
    expect(c, S2, 1, kept + 1, 201, false);
    client_quiet(c);
    client_free(c);
}

/* It waits for its reader in the middle of one, of which the history then loses the rest. */
static void test_a_replay_is_lost_on_the_way(void **state)
{
    struct client *c;
    const char *got;
    int seq;

    (void)state;
    feed_stop(&f);
    feed_options.history = 5 << 20;
    feed_start(&f, schema_of(table_ref(users), NULL));
    for (int i = 0; i < 40; i++) {
        insert(20, 4000);
        publish(i ? MIDDLE : FIRST);
    }
    c = client_new(&f);
    client_send(c, USERS ",\"batch\":true,\"since\":0}");
    client_expect_part(c, "\"recovered\":true");
    usleep(50000);
    for (int i = 0; i < 200; i++) {
        insert(20, 4000);
        publish(MIDDLE);
    }
    while ((got = client_read(c)) && !strstr(got, "resync"))
        assert_non_null(strstr(got, "\"more\":true"));
    assert_non_null(got);
    assert_non_null(strstr(got, "\"subscription\":\"s1\",\"reason\":\"history_lost\""));
    client_quiet(c);
    seq = last;
    put(MIDDLE, 1);
    put(END, 1);
    expect(c, S1, 1, seq + 1, last, false);
    client_quiet(c);
    client_free(c);
}

/* From the journal's pages, wherever they end, to what is live and not through. */
static void test_from_the_journal(void **state)
{
    struct database *db = fake_pager_new();

    (void)state;
    feed_stop(&f);
    feed_options.db = db;
    feed_options.history = 0;
    db->journal = true;
    feed_start(&f, schema_of(table_ref(users), NULL));
    put(FIRST, 5);
    put(MIDDLE, 3);
    put(END, 4);
    for (uint32_t page = 1; page < 14; page++) {
        struct client *c = client_new(&f);
        int seq = last, tx = (int)f.tx;

        fake_pager_hold(db);
        db->page_changes = page;
        fake_pager_release(db);
        put(FIRST, 2);
        client_subscribe(c, USERS ",\"batch\":true,\"since\":0}");
        expect(c, S1, 1, 1, 12, false);
        for (int t = 2; t <= tx; t++)
            expect(c, S1, t, 12 + 3 * (t - 2) + 1, 12 + 3 * (t - 1), false);
        client_quiet(c);
        put(END, 1);
        expect(c, S1, tx + 1, seq + 1, last, false);
        client_quiet(c);
        client_free(c);
    }
}

/* A table that it drops: the last rows come in a later batch than the new schema. */
static void test_a_drop(void **state)
{
    struct table *next = TABLE("users", "id:INTEGER:k", "age:INTEGER:", "text:TEXT:");
    struct client *c = client_new(&f);

    (void)state;
    next->id = 2;
    client_subscribe(c, USERS ",\"filter\":\"age=1\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"channel\":\"tables\"}");
    feed_ddl(&f, CHANGE_TABLE_CREATED, next, NULL);
    feed_delete(&f, users, ROW(INTEGER(1), INTEGER(1), TEXT("")));
    feed_commit(&f, 0, schema_of(table_ref(next), NULL));
    f.batch->continues = true;
    feed_publish(&f);
    client_expect_part(c, "\"type\":\"table:created\"");
    client_expect_part(c, "\"id\":\"e1:2\"");
    feed_delete(&f, users, ROW(INTEGER(2), INTEGER(1), TEXT("")));
    feed_insert(&f, next, ROW(INTEGER(3), INTEGER(1), TEXT("")));
    publish(MIDDLE);
    client_expect_part(c, "\"id\":\"e1:3\"");
    client_expect_part(c, "\"id\":\"e1:4\"");
    feed_delete(&f, users, ROW(INTEGER(4), INTEGER(1), TEXT("")));
    feed_ddl(&f, CHANGE_TABLE_DROPPED, users, NULL);
    publish(END);
    client_expect_part(c, "\"id\":\"e1:5\"");
    client_expect_part(c, "\"type\":\"table:dropped\"");
    client_quiet(c);
    feed_insert(&f, next, ROW(INTEGER(5), INTEGER(1), TEXT("")));
    publish(WHOLE);
    client_expect_part(c, "\"id\":\"e1:7\"");
    client_quiet(c);
    client_free(c);
    table_unref(next);
}

/* Everything, or the connection ends. */
static void test_memory(void **state)
{
    bool hit = true;

    (void)state;
    for (long n = 0; hit && n < 1000; n++) {
        struct client *c = client_new(&f);
        int first = last + 1, tx = (int)f.tx + 1;
        const char *got;

        put(FIRST, 1);
        client_subscribe(c, USERS ",\"batch\":true,\"since\":0}");
        for (int t = 1; t < tx; t++)
            client_expect_part(c, "\"type\":\"changes\"");
        insert(1, 1);
        feed_commit(&f, 0, NULL);
        f.batch->continued = true;
        mem_fail_after(n);
        batch_seal(f.batch, &f.seq, &f.tx);
        hub_publish(f.hub, f.batch);
        got = client_read(c);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        batch_unref(f.batch);
        f.batch = batch_new(0);
        if (got) {
            char part[40];

            assert_non_null(strstr(got, "\"type\":\"changes\""));
            snprintf(part, sizeof(part), "\"id\":\"e1:%d\"", first);
            assert_non_null(strstr(got, part));
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
        CASE(test_one_message),
        CASE(test_neighbours),
        CASE(test_much_is_sent_at_once),
        CASE(test_unsubscribing_on_the_way),
        CASE(test_leaving_on_the_way),
        CASE(test_slow_on_the_way),
        CASE(test_a_replay_arrives_on_the_way),
        CASE(test_from_the_history),
        CASE(test_the_history_is_trimmed),
        CASE(test_a_replay_is_lost_on_the_way),
        CASE(test_from_the_journal),
        CASE(test_a_drop),
        CASE(test_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
