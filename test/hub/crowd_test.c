#include "hub_fixture.h"

#include "base/mem.h"
#include "hub/crowd.h"
#include "net/ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Subscribers who get the same, among others who do not: whatever is published at once, and
 * whatever comes between, each sees what its subscriptions say, once and in order.
 */

static struct feed f;
static struct table *users, *notes;
static int last;
static char text[20000];

static int setup(void **state)
{
    (void)state;
    users = TABLE("users", "id:INTEGER:k", "age:INTEGER:", "text:TEXT:");
    notes = TABLE("notes", "id:INTEGER:k", "note:TEXT:");
    users->id = 1;
    notes->id = 2;
    last = 0;
    memset(text, 'x', sizeof(text));
    feed_start(&f, schema_of(table_ref(users), table_ref(notes), NULL));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    feed_stop(&f);
    table_unref(users);
    table_unref(notes);
    feed_options.max_queue = 1 << 20;
    return 0;
}

/* A row of users, of that size; its age is what id leaves over from 10. */
static void put_user(size_t size)
{
    last++;
    feed_insert(&f, users,
        ROW(INTEGER(last), INTEGER(last % 10),
            {.p = text, .len = (uint32_t)size, .type = VALUE_TEXT}));
}

static void put_note(void)
{
    last++;
    feed_insert(&f, notes, ROW(INTEGER(last), TEXT("n")));
}

static void expect_seq(struct client *c, const char *sub, int seq)
{
    char part[40];

    snprintf(part, sizeof(part), "\"seq\":%d,", seq);
    client_expect_part(c, part);
    assert_non_null(strstr(c->text, sub));
}

#define USERS "{\"type\":\"subscribe\",\"table\":\"users\""
#define S1 "\"subscriptions\":[\"s1\"]"

static void test_many_at_once(void **state)
{
    struct client *c[5];

    (void)state;
    for (int i = 0; i < 5; i++) {
        c[i] = client_new(&f);
        client_subscribe(c[i], USERS "}");
    }
    /* More than are kept back, and one so large that it goes by itself. */
    for (int i = 1; i <= 3 * CROWD_CHANGES; i++) {
        put_user(i == CROWD_CHANGES + 7 ? sizeof(text) : (size_t)i);
        if (i % 3 == 0)
            continue; /* two in one transaction */
        feed_commit(&f, 0, NULL);
        feed_put(&f);
    }
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    for (int i = 0; i < 5; i++) {
        for (int seq = 1; seq <= 3 * CROWD_CHANGES; seq++)
            expect_seq(c[i], S1, seq);
        client_quiet(c[i]);
        client_free(c[i]);
    }
}

/* A commit of both tables, the schema's and another's, between those of one. */
static void test_between(void **state)
{
    struct client *plain = client_new(&f), *told = client_new(&f), *two = client_new(&f);
    struct table *tags = TABLE("tags", "id:INTEGER:k");

    (void)state;
    tags->id = 3;
    client_subscribe(plain, USERS "}");
    client_subscribe(told, "{\"type\":\"subscribe\",\"channel\":\"tables\"}");
    client_subscribe(told, USERS "}");
    client_subscribe(two, USERS "}");
    client_subscribe(two, "{\"type\":\"subscribe\",\"table\":\"notes\"}");
    put_user(1);
    feed_commit(&f, 0, NULL);
    feed_put(&f);
    put_note();
    put_user(1);
    feed_commit(&f, 0, NULL);
    feed_put(&f);
    feed_ddl(&f, CHANGE_TABLE_CREATED, tags, NULL);
    put_user(1);
    feed_commit(&f, 0, schema_of(table_ref(users), table_ref(notes), table_ref(tags), NULL));
    feed_put(&f);
    put_user(1);
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    expect_seq(plain, S1, 1);
    expect_seq(plain, S1, 3);
    expect_seq(plain, S1, 5);
    expect_seq(plain, S1, 6);
    expect_seq(told, S1, 1);
    expect_seq(told, S1, 3);
    client_expect_part(told, "\"type\":\"table:created\"");
    expect_seq(told, S1, 5);
    expect_seq(told, S1, 6);
    expect_seq(two, S1, 1);
    expect_seq(two, "\"subscriptions\":[\"s2\"]", 2);
    expect_seq(two, S1, 3);
    expect_seq(two, S1, 5);
    expect_seq(two, S1, 6);
    client_quiet(plain);
    client_quiet(told);
    client_quiet(two);
    client_free(plain);
    client_free(told);
    client_free(two);
    table_unref(tags);
}

/* Who comes to a second subscription, or loses the first, is found all the same. */
static void test_coming_and_going(void **state)
{
    struct client *a = client_new(&f), *b = client_new(&f), *c = client_new(&f);

    (void)state;
    client_subscribe(a, USERS "}");
    client_subscribe(b, USERS "}");
    client_subscribe(c, USERS "}");
    client_subscribe(a, USERS ",\"filter\":\"age=1\"}");
    put_user(1);
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    expect_seq(a, "\"subscriptions\":[\"s1\",\"s2\"]", 1);
    expect_seq(b, S1, 1);
    expect_seq(c, S1, 1);
    client_send(b, "{\"type\":\"unsubscribe\",\"subscription\":\"s1\"}");
    client_expect_part(b, "\"unsubscribed\"");
    client_send(a, "{\"type\":\"unsubscribe\",\"subscription\":\"s2\"}");
    client_expect_part(a, "\"unsubscribed\"");
    client_subscribe(b, USERS "}");
    for (int i = 0; i < 4; i++) {
        put_user(1);
        feed_commit(&f, 0, NULL);
        feed_put(&f);
    }
    client_free(c);
    hub_wake(f.hub);
    for (int seq = 2; seq <= 5; seq++) {
        expect_seq(a, S1, seq);
        expect_seq(b, "\"subscriptions\":[\"s2\"]", seq);
    }
    client_quiet(a);
    client_quiet(b);
    client_free(a);
    client_free(b);
}

/* More than a socket takes at once, for many who have not begun to read. */
static void test_far_behind(void **state)
{
    struct client *c[4];

    (void)state;
    for (int i = 0; i < 4; i++) {
        c[i] = client_new(&f);
        client_subscribe(c[i], USERS "}");
    }
    for (int round = 0; round < 3; round++) {
        int begun = last;

        for (int i = 0; i < 2500; i++) {
            put_user(100);
            feed_commit(&f, 0, NULL);
            feed_put(&f);
        }
        hub_wake(f.hub);
        for (int i = 0; i < 4; i++)
            for (int seq = begun + 1; seq <= last; seq++)
                expect_seq(c[i], S1, seq);
    }
    for (int i = 0; i < 4; i++) {
        client_quiet(c[i]);
        client_free(c[i]);
    }
}

/* Of those who get the same only the one that does not read is closed. */
static void test_one_is_slow(void **state)
{
    struct client *slow, *good[3];

    (void)state;
    slow = client_new(&f);
    client_subscribe(slow, USERS "}");
    for (int i = 0; i < 3; i++) {
        good[i] = client_new(&f);
        client_subscribe(good[i], USERS "}");
    }
    for (int round = 0; round < 400; round++) {
        int begun = last;

        for (int i = 0; i < 4; i++) {
            put_user(4000);
            feed_commit(&f, 0, NULL);
            feed_put(&f);
        }
        hub_wake(f.hub);
        for (int i = 0; i < 3; i++)
            for (int seq = begun + 1; seq <= last; seq++)
                expect_seq(good[i], S1, seq);
    }
    for (int seq = 1;; seq++) {
        char part[40];
        const char *got = client_read(slow);

        if (!got)
            break;
        if (strstr(got, "\"reason\":\"slow_consumer\""))
            continue; /* and the end */
        snprintf(part, sizeof(part), "\"seq\":%d,", seq);
        assert_non_null(strstr(got, part));
        assert_in_range(seq, 1, last - 1);
    }
    assert_int_equal(slow->code, WS_CLOSE_TRY_LATER);
    for (int i = 0; i < 3; i++) {
        client_quiet(good[i]);
        client_free(good[i]);
    }
    client_free(slow);
}

#define CLIENTS 12

/* What a client of the random test subscribes to; what it must then see. */
struct listener {
    struct client *c;
    int kind, from; /* it hears changes after that */
};

enum { PLAIN, COLUMNS, FILTERED, NOTES, BOTH, KINDS };

static void join(struct listener *l)
{
    static const char *const asks[KINDS] = {
        [PLAIN] = USERS "}",
        [COLUMNS] = USERS ",\"columns\":[\"id\"]}",
        [FILTERED] = USERS ",\"filter\":\"age<5\"}",
        [NOTES] = "{\"type\":\"subscribe\",\"table\":\"notes\"}",
        [BOTH] = USERS "}",
    };

    l->kind = rand() % KINDS;
    l->c = client_new(&f);
    client_subscribe(l->c, asks[l->kind]);
    if (l->kind == BOTH)
        client_subscribe(l->c, asks[NOTES]);
    l->from = last;
}

static bool sees(const struct listener *l, bool note, int seq)
{
    return l->kind == BOTH || (note                     ? l->kind == NOTES
                                  : l->kind == FILTERED ? seq % 10 < 5
                                                        : l->kind != NOTES);
}

static void check(struct listener *l, const bool *is_note)
{
    char part[40];

    for (int seq = l->from + 1; seq <= last; seq++) {
        if (!sees(l, is_note[seq], seq))
            continue;
        snprintf(part, sizeof(part), "\"seq\":%d,", seq);
        client_expect_part(l->c, part);
        assert_true(
            (strstr(l->c->text, "\"text\":") != NULL) == (!is_note[seq] && l->kind != COLUMNS));
    }
    l->from = last;
}

static void test_random(void **state)
{
    static bool is_note[20000];
    struct listener l[CLIENTS];

    (void)state;
    srand(1);
    for (int i = 0; i < CLIENTS; i++)
        join(&l[i]);
    for (int round = 0; round < 150; round++) {
        for (int n = rand() % 100; n >= 0; n--) {
            is_note[last + 1] = rand() % 20 == 0;
            if (is_note[last + 1])
                put_note();
            else
                put_user((size_t)(rand() % 50 ? rand() % 100 : rand() % 20000));
            if (n == 0 || rand() % 3) {
                feed_commit(&f, 0, NULL);
                feed_put(&f);
            }
        }
        hub_wake(f.hub);
        for (int i = 0; i < CLIENTS; i++)
            check(&l[i], is_note);
        int changed = rand() % CLIENTS;
        client_quiet(l[changed].c);
        client_free(l[changed].c);
        join(&l[changed]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        client_quiet(l[i].c);
        client_free(l[i].c);
    }
}

/* Nobody goes on with a gap. */
static void test_failing_memory(void **state)
{
    bool hit = true;

    (void)state;
    for (long n = 0; hit && n < 1000; n++) {
        struct client *c[3];
        struct batch *batches[3];
        int begun = last;

        for (int i = 0; i < 3; i++) {
            c[i] = client_new(&f);
            client_subscribe(c[i], USERS "}");
        }
        for (int i = 0; i < 3; i++) {
            put_user(100);
            feed_commit(&f, 0, NULL);
            batch_seal(f.batch, &f.seq, &f.tx);
            batches[i] = f.batch;
            f.batch = batch_new(0);
        }
        mem_fail_after(n);
        client_send(c[0], USERS ",\"filter\":\"age<20\"}");
        client_read(c[0]); /* subscribed, or why not; or it is closed */
        for (int i = 0; i < 3; i++)
            hub_put(f.hub, batches[i]);
        hub_wake(f.hub);
        for (int i = 0; i < 3; i++) {
            int seq = begun;

            while (c[i]->code == 0 && seq < last && client_read(c[i])) {
                char part[40];

                snprintf(part, sizeof(part), "\"seq\":%d,", ++seq);
                assert_non_null(strstr(c[i]->text, part));
            }
            if (seq < last)
                assert_int_equal(c[i]->code, WS_CLOSE_INTERNAL);
        }
        hit = mem_fail_hit();
        mem_fail_after(-1);
        for (int i = 0; i < 3; i++) {
            client_free(c[i]);
            batch_unref(batches[i]);
        }
    }
    assert_false(hit);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_many_at_once),
        CASE(test_between),
        CASE(test_coming_and_going),
        CASE(test_far_behind),
        CASE(test_one_is_slow),
        CASE(test_random),
        CASE(test_failing_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
