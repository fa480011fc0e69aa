#include "hub_fixture.h"

#include "base/status.h"
#include "fake_pager.h"
#include "net/ws.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Snapshots, then live: over a pager whose moments a test can choose. */

static struct feed f;
static struct table *users, *texts;
static struct database *db;

static struct table *table(const char *name, uint64_t id, const char *second)
{
    struct table *t = TABLE(name, "id:INTEGER:k", second);

    t->id = id;
    return t;
}

static struct schema *two(struct table *a, struct table *b)
{
    return schema_of(table_ref(a), table_ref(b), NULL);
}

static int setup(void **state)
{
    (void)state;
    users = table("users", 1, "age:INTEGER:");
    texts = table("texts", 2, "text:TEXT:");
    feed_options.db = db = fake_pager_new();
    db->schema = two(users, texts);
    feed_start(&f, two(users, texts));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    feed_stop(&f);
    table_unref(users);
    table_unref(texts);
    feed_options.history = 1 << 26;
    feed_options.max_queue = 1 << 20;
    feed_options.seq = 0;
    return 0;
}

static void insert(int id)
{
    feed_insert(&f, users, ROW(INTEGER(id), INTEGER(id % 10)));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
}

#define USERS "{\"type\":\"subscribe\",\"table\":\"users\",\"snapshot\":true"
#define TEXTS "{\"type\":\"subscribe\",\"table\":\"texts\",\"snapshot\":true"
#define MESSAGE "{\"id\":\"c\",\"timestamp\":T,\"type\":"
#define SNAPSHOT(name, seq, rows, last)                                                            \
    MESSAGE "\"snapshot\",\"subscription\":\"" name "\",\"table\":\"users\",\"seq\":" seq          \
            ",\"data\":{\"rows\":[" rows "]},\"last\":" last "}"
#define RESYNC(reason)                                                                             \
    MESSAGE "\"resync\",\"subscription\":\"s1\",\"reason\":\"" reason                              \
            "\",\"data\":{\"subscription\":\"s1\",\"reason\":\"" reason "\"}}"

static void expect_change(struct client *c, int seq)
{
    char part[80];

    snprintf(part, sizeof(part), "{\"subscriptions\":[\"s1\"],\"id\":\"e1:%d\"", seq);
    client_expect_part(c, part);
}

/* Reads a snapshot of s1 to its end: all ids first, first + step, …; returns how many messages. */
static int expect_rows(struct client *c, int first, int step, int rows)
{
    int id = first, seen = 0, messages = 0;
    char part[64];

    for (;;) {
        client_expect_part(c, "\"type\":\"snapshot\"");
        messages++;
        for (const char *p = c->text; (p = strstr(p, "{\"key\":{\"id\":")); p++) {
            snprintf(part, sizeof(part), "{\"key\":{\"id\":%d},\"data\":{", id);
            assert_memory_equal(p, part, strlen(part));
            id += step;
            seen++;
        }
        if (strstr(c->text, "\"last\":true}"))
            break;
        assert_non_null(strstr(c->text, "\"last\":false}"));
    }
    assert_int_equal(seen, rows);
    return messages;
}

static void test_no_rows(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    client_send(c, "{\"type\":\"subscribe\",\"table\":\"USERS\",\"snapshot\":true,\"id\":7}");
    client_expect(c, MESSAGE "\"subscribed\",\"requestId\":7,\"data\":{\"subscription\":\"s1\","
                             "\"table\":\"users\",\"seq\":0}}");
    client_expect(c, SNAPSHOT("s1", "0", "", "true"));
    insert(1);
    expect_change(c, 1);
    client_quiet(c);
    client_free(c);
    fake_pager_expect_open(db, 0);
}

static void test_rows(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    db->rows = 2;
    client_subscribe(c, USERS "}");
    client_expect(c, SNAPSHOT("s1", "0",
                         "{\"key\":{\"id\":1},\"data\":{\"id\":1,\"age\":1}},"
                         "{\"key\":{\"id\":2},\"data\":{\"id\":2,\"age\":2}}",
                         "true"));
    client_subscribe(c, USERS ",\"columns\":[\"age\"],\"filter\":\"age>=2\"}");
    client_expect(c, SNAPSHOT("s2", "0", "{\"key\":{\"id\":2},\"data\":{\"age\":2}}", "true"));
    client_quiet(c);
    client_free(c);
}

/* events, self and batch are about the changes. */
static void test_rows_whatever_the_events(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    db->rows = 250;
    client_subscribe(c, USERS ",\"events\":[\"DELETE\"],\"self\":false,\"batch\":true}");
    expect_rows(c, 1, 1, 250);
    insert(1);
    feed_delete(&f, users, ROW(INTEGER(1), INTEGER(1)));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    client_expect_part(c, "\"type\":\"changes\",\"channel\":\"tables\",\"seq\":2");
    client_quiet(c);
    client_free(c);
}

static void test_pages_without_rows(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    db->rows = 1000;
    db->page_rows = 10;
    client_subscribe(c, USERS ",\"filter\":\"id>995\"}");
    expect_rows(c, 996, 1, 5);
    client_subscribe(c, USERS ",\"filter\":\"id=5000\"}");
    client_expect(c, SNAPSHOT("s2", "0", "", "true"));
    client_quiet(c);
    client_free(c);
}

/* What the snapshot shows is not told again; what came after it is, once it is through. */
static void test_changes_meanwhile(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    insert(1);
    db->rows = db->seq = 2;
    fake_pager_hold(db);
    client_send(c, USERS "}");
    fake_pager_expect_waiting(db, 1);
    insert(2);
    insert(3);
    fake_pager_release(db);
    client_expect_part(c, "\"subscription\":\"s1\",\"table\":\"users\",\"seq\":2}}");
    expect_rows(c, 1, 1, 2);
    expect_change(c, 3);
    insert(4);
    expect_change(c, 4);
    client_quiet(c);
    client_free(c);
}

/* The pager has seen a commit that the loop has not. */
static void test_a_snapshot_ahead(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    insert(1);
    db->rows = db->seq = 3;
    client_send(c, USERS "}");
    client_expect_part(c, "\"seq\":3}}");
    expect_rows(c, 1, 1, 3);
    insert(2);
    client_quiet(c);
    insert(3);
    client_quiet(c);
    insert(4);
    expect_change(c, 4);
    client_quiet(c);
    client_free(c);
}

/* The same with all of it on its way at once: in one batch, and several before the loop turns. */
static void test_a_snapshot_ahead_of_much(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    db->rows = db->seq = 50;
    client_send(c, USERS "}");
    client_expect_part(c, "\"seq\":50}}");
    expect_rows(c, 1, 1, 50);
    for (int i = 1; i <= 100; i++)
        insert(i);
    for (int i = 51; i <= 100; i++)
        expect_change(c, i);
    client_quiet(c);
    client_free(c);
}

static void test_refused(void **state)
{
    static const struct {
        const char *request, *part;
    } bad[] = {
        {"{\"type\":\"subscribe\",\"table\":\"*\",\"snapshot\":true}",
            "\"code\":\"INVALID_FORMAT\",\"message\":\"a snapshot is of one table"},
        {"{\"type\":\"subscribe\",\"channel\":\"tables\",\"snapshot\":true}",
            "\"code\":\"INVALID_FORMAT\",\"message\":\"a snapshot is of one table"},
        {"{\"type\":\"subscribe\",\"table\":\"none\",\"snapshot\":true}", "\"code\":\"NOT_FOUND\""},
        {USERS ",\"filter\":\"no=1\"}", "\"code\":\"INVALID_FILTER\""},
    };
    struct client *c = client_new(&f);

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        client_send(c, bad[i].request);
        client_expect_part(c, bad[i].part);
    }
    client_quiet(c);
    assert_int_equal(fake_pager_count(db, &db->opened), 0);
    client_free(c);
}

static void test_without_a_database(void **state)
{
    struct client *c;

    (void)state;
    feed_stop(&f);
    feed_start(&f, two(users, texts));
    c = client_new(&f);
    client_send(c, USERS "}");
    client_expect_part(c, "\"message\":\"this server has no snapshots\"");
    client_free(c);
}

static void test_so_many_at_once(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    fake_pager_hold(db);
    for (int i = 0; i < 16; i++)
        client_send(c, USERS "}");
    client_send(c, USERS ",\"id\":\"x\"}");
    client_expect_part(c, "\"requestId\":\"x\",\"error\":{\"code\":\"LIMIT_EXCEEDED\"");
    fake_pager_release(db);
    for (int i = 0; i < 32; i++)
        assert_non_null(client_read(c));
    client_subscribe(c, USERS "}");
    client_expect(c, SNAPSHOT("s17", "0", "", "true"));
    client_quiet(c);
    client_free(c);
}

/* The definition that counts is the one in the snapshot. */
static void test_another_schema_in_the_snapshot(void **state)
{
    struct table *other = table("users", 1, "height:INTEGER:");
    struct client *c = client_new(&f);

    (void)state;
    fake_pager_hold(db);
    schema_unref(db->schema);
    db->schema = schema_of(other, NULL);
    db->rows = 1;
    fake_pager_release(db);
    client_send(c, USERS ",\"filter\":\"age=1\",\"id\":1}");
    client_expect_part(c, "\"requestId\":1,\"error\":{\"code\":\"INVALID_FILTER\"");
    client_send(c, USERS ",\"columns\":[\"age\"],\"id\":2}");
    client_expect_part(c, "\"requestId\":2,\"error\":{\"code\":\"NOT_FOUND\"");
    client_send(c, TEXTS ",\"id\":3}");
    client_expect_part(c, "\"requestId\":3,\"error\":{\"code\":\"NOT_FOUND\","
                          "\"message\":\"the table has been dropped\"");
    client_subscribe(c, USERS "}");
    client_expect(
        c, SNAPSHOT("s4", "0", "{\"key\":{\"id\":1},\"data\":{\"id\":1,\"height\":1}}", "true"));
    client_send(c, "{\"type\":\"unsubscribe\"}");
    client_expect_part(c, "\"subscriptions\":[\"s4\"]}}");
    client_free(c);
    fake_pager_expect_open(db, 0);
}

static void test_failures(void **state)
{
    static const struct {
        int status;
        const char *resync;
    } ways[] = {
        {STATUS_CLOSED, RESYNC("snapshot_timeout")},
        {STATUS_CONFLICT, RESYNC("schema_changed")},
        {STATUS_IO, RESYNC("snapshot_failed")},
        {STATUS_NOMEM, RESYNC("snapshot_failed")},
    };
    int seq = 0;

    (void)state;
    db->rows = 300;
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
        for (int pages = -1; pages < 3; pages++) {
            struct client *c = client_new(&f);
            char part[40];

            fake_pager_hold(db);
            db->fail_open = pages < 0 ? ways[i].status : 0;
            db->fail_page = ways[i].status;
            db->pages = 0;
            db->pages_before = pages;
            db->seq = (uint64_t)seq;
            fake_pager_release(db);
            client_send(c, USERS ",\"id\":1}");
            snprintf(part, sizeof(part), "\"users\",\"seq\":%d}}", seq);
            client_expect_part(c, part);
            while (strstr(client_read(c), "\"snapshot\""))
                assert_non_null(strstr(c->text, "\"last\":false"));
            assert_string_equal(c->text, ways[i].resync);
            insert(++seq);
            expect_change(c, seq);
            client_quiet(c);
            client_free(c);
        }
    fake_pager_expect_open(db, 0);
}

static void test_with_since(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    for (int i = 1; i <= 3; i++)
        insert(i);
    db->rows = db->seq = 3;
    client_send(c, USERS ",\"since\":1}");
    client_expect_part(c, "\"seq\":1,\"recovered\":true}}");
    expect_change(c, 2);
    expect_change(c, 3);
    client_quiet(c);
    assert_int_equal(fake_pager_count(db, &db->opened), 0);
    client_send(c, "{\"type\":\"unsubscribe\"}");
    client_expect_part(c, "unsubscribed");
    client_send(c, USERS ",\"since\":\"e0:1\",\"id\":5}");
    client_expect_part(c, "\"requestId\":5,\"data\":{\"subscription\":\"s2\",\"table\":\"users\","
                          "\"seq\":3,\"recovered\":false}}");
    client_expect_part(c, "\"subscription\":\"s2\",\"reason\":\"epoch_changed\"");
    expect_rows(c, 1, 1, 3);
    client_quiet(c);
    client_free(c);
}

/* Unsubscribing and going away while the pager has the scan: before and after it is open. */
static void test_leaving(void **state)
{
    (void)state;
    db->rows = 100000;
    for (int opened = 0; opened < 2; opened++) {
        struct client *c = client_new(&f), *gone = client_new(&f);

        if (!opened)
            fake_pager_hold(db);
        client_send(c, USERS ",\"id\":1}");
        client_send(gone, USERS "}");
        if (opened) {
            client_expect_part(c, "subscribed");
            client_expect_part(gone, "subscribed");
        }
        client_free(gone);
        client_send(c, "{\"type\":\"unsubscribe\",\"table\":\"users\"}");
        if (!opened)
            client_expect_part(c, "\"requestId\":1,\"error\":{\"code\":\"CONFLICT\"");
        while (!strstr(client_read(c), "unsubscribed"))
            assert_non_null(strstr(c->text, "\"snapshot\""));
        client_quiet(c);
        insert(1);
        client_quiet(c);
        client_free(c);
        fake_pager_release(db);
    }
    fake_pager_expect_open(db, 0);
}

/* The subscription ends when its filter no longer fits; a dropped table's rows are still shown. */
static void test_schema_changes_meanwhile(void **state)
{
    struct table *other = table("users", 1, "height:INTEGER:");
    struct client *c = client_new(&f), *all = client_new(&f);

    (void)state;
    db->rows = 500;
    client_send(c, USERS ",\"filter\":\"age>=0\"}");
    client_expect_part(c, "subscribed");
    fake_pager_hold(db);
    client_send(all, USERS "}");
    fake_pager_release(db);
    client_expect_part(all, "subscribed");
    feed_ddl(&f, CHANGE_TABLE_ALTERED, other, users);
    feed_commit(&f, 0, schema_of(other, table_ref(texts), NULL));
    feed_publish(&f);
    feed_ddl(&f, CHANGE_TABLE_DROPPED, other, NULL);
    feed_commit(&f, 0, schema_of(table_ref(texts), NULL));
    feed_publish(&f);
    while (strstr(client_read(c), "\"snapshot\""))
        ;
    assert_non_null(strstr(c->text, "subscription s1 has ended because table users was changed"));
    client_quiet(c);
    expect_rows(all, 1, 1, 500);
    client_expect_part(all, "\"type\":\"table:altered\"");
    client_expect_part(all, "\"type\":\"table:dropped\"");
    client_quiet(all);
    client_free(c);
    client_free(all);
}

static void fill_text(struct value *row, int64_t i)
{
    static char text[300000];

    if (!text[0])
        memset(text, 'x', sizeof(text));
    row[0] = INTEGER(i);
    row[1] = (struct value){.p = text, .len = i == 700 ? sizeof(text) : 1000, .type = VALUE_TEXT};
}

/* A client that does not read has only so much read for it, and nobody waits for it. */
static void test_a_slow_reader(void **state)
{
    struct client *slow = client_new(&f), *live = client_new(&f);
    int pages, messages;

    (void)state;
    db->fill = fill_text;
    db->rows = 10000;
    db->seq = 0;
    client_subscribe(live, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    client_send(slow, TEXTS "}");
    for (pages = -1; pages != fake_pager_count(db, &db->pages);) {
        pages = fake_pager_count(db, &db->pages);
        usleep(50000);
    }
    assert_in_range(pages, 1, 20);
    for (int i = 1; i <= 20; i++) {
        insert(i);
        expect_change(live, i);
    }
    client_expect_part(slow, "subscribed");
    messages = expect_rows(slow, 1, 1, 10000);
    assert_in_range(messages, 10000 * 1000 / (64 << 10), 400);
    client_quiet(slow);
    client_free(slow);
    client_free(live);
    fake_pager_expect_open(db, 0);
}

/* No message is longer than a quarter of what may be queued, but for a row that is. */
static void test_messages_are_bounded(void **state)
{
    struct client *c;
    bool last = false;
    int longer = 0;

    (void)state;
    feed_stop(&f);
    feed_options.db = db = fake_pager_new();
    db->schema = two(users, texts);
    feed_options.max_queue = 400000;
    db->fill = fill_text;
    db->rows = 1000;
    feed_start(&f, two(users, texts));
    c = client_new(&f);
    client_subscribe(c, TEXTS "}");
    while (!last) {
        size_t len = strlen(client_read(c));

        assert_true(len <= (64 << 10) + 200 || strstr(c->text, "[{\"key\":{\"id\":700}"));
        longer += len > (64 << 10) + 200;
        last = strstr(c->text, "\"last\":true");
    }
    assert_int_equal(longer, 1);
    client_quiet(c);
    client_free(c);
}

/* The changes meanwhile are held by the history alone. */
static void test_history_lost_meanwhile(void **state)
{
    struct client *c;

    (void)state;
    feed_stop(&f);
    feed_options.db = db = fake_pager_new();
    db->schema = two(users, texts);
    feed_options.history = 10000;
    feed_start(&f, two(users, texts));
    c = client_new(&f);
    db->rows = 10;
    fake_pager_hold(db);
    client_send(c, USERS "}");
    fake_pager_expect_waiting(db, 1);
    for (int i = 1; i <= 100; i++)
        insert(i);
    fake_pager_release(db);
    client_expect_part(c, "subscribed");
    expect_rows(c, 1, 1, 10);
    client_expect(c, RESYNC("history_lost"));
    insert(101);
    expect_change(c, 101);
    client_quiet(c);
    client_free(c);
}

static void test_two_at_one_seq(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    insert(1);
    db->rows = db->seq = 1;
    fake_pager_hold(db);
    client_send(c, USERS "}");
    client_send(c, USERS "}");
    fake_pager_expect_waiting(db, 2);
    insert(2);
    fake_pager_release(db);
    /* The second may come before or after the first has gone on. */
    for (int named = 0; named < 2;) {
        assert_non_null(client_read(c));
        if (strstr(c->text, "\"id\":\"e1:2\""))
            named += strstr(c->text, "\"s1\",\"s2\"") ? 2 : 1;
    }
    insert(3);
    client_expect_part(c, "{\"subscriptions\":[\"s1\",\"s2\"],\"id\":\"e1:3\"");
    client_quiet(c);
    client_free(c);
}

/* The loops end first, then the pager, with scans in every state. */
static void test_stopping(void **state)
{
    (void)state;
    for (int round = 0; round < 12; round++) {
        struct client *clients[8];

        db->fill = fill_text;
        db->rows = 5000;
        db->page_rows = 50;
        db->delay_us = round % 3 * 300;
        db->backwards = round % 2;
        for (int i = 0; i < 8; i++) {
            clients[i] = client_new(&f);
            client_send(clients[i], TEXTS "}");
            if (i == 2)
                usleep((unsigned)round * 1000);
            if (i == 5 && round % 4 == 3)
                fake_pager_hold(db);
        }
        client_free(clients[0]);
        feed_stop(&f);
        for (int i = 1; i < 8; i++)
            client_free(clients[i]);
        feed_options.db = db = fake_pager_new();
        db->schema = two(users, texts);
        feed_start(&f, two(users, texts));
    }
}

/* The rows and the changes as asked for, or the connection ends, or a resync says what is lost. */
static void test_memory(void **state)
{
    bool hit = true;

    (void)state;
    insert(1);
    for (long n = 0; hit && n < 1000; n++) {
        struct client *c = client_new(&f);
        const char *got;
        int rows = 0;

        fake_pager_hold(db);
        db->rows = 200;
        db->seq = 1;
        mem_fail_after(n);
        client_send(c, USERS ",\"columns\":[\"age\"],\"filter\":\"id in (1,101,102)\",\"id\":1}");
        fake_pager_release(db);
        while ((got = client_read(c)) && !strstr(got, "\"last\":true") && !strstr(got, "resync"))
            ;
        hit = mem_fail_hit();
        mem_fail_after(-1);
        for (const char *p = got; p && (p = strstr(p, "{\"key\":")); p++)
            rows++;
        if (got) {
            assert_true(strstr(got, "snapshot_failed") || rows == 2);
            client_quiet(c);
        } else {
            assert_true(hit);
            assert_int_equal(c->code, WS_CLOSE_INTERNAL);
        }
        client_free(c);
    }
    assert_false(hit);
    fake_pager_expect_open(db, 0);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_no_rows),
        CASE(test_rows),
        CASE(test_rows_whatever_the_events),
        CASE(test_pages_without_rows),
        CASE(test_changes_meanwhile),
        CASE(test_a_snapshot_ahead),
        CASE(test_a_snapshot_ahead_of_much),
        CASE(test_refused),
        CASE(test_without_a_database),
        CASE(test_so_many_at_once),
        CASE(test_another_schema_in_the_snapshot),
        CASE(test_failures),
        CASE(test_with_since),
        CASE(test_leaving),
        CASE(test_schema_changes_meanwhile),
        CASE(test_a_slow_reader),
        CASE(test_messages_are_bounded),
        CASE(test_history_lost_meanwhile),
        CASE(test_two_at_one_seq),
        CASE(test_stopping),
        CASE(test_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
