#include "hub_fixture.h"

#include "base/mem.h"
#include "dialect/sse.h"
#include "fake_pager.h"
#include "net/ws.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Changes that could not be captured: who is told, and that nobody gets past it in silence. */

static struct feed f;
static struct table *users, *texts;
static struct database *db;

static struct schema *two(void)
{
    return schema_of(table_ref(users), table_ref(texts), NULL);
}

static int setup(void **state)
{
    (void)state;
    users = TABLE("users", "id:INTEGER:k", "age:INTEGER:");
    texts = TABLE("texts", "id:INTEGER:k", "text:TEXT:");
    texts->id = 2;
    feed_options.db = db = fake_pager_new();
    db->schema = two();
    feed_start(&f, two());
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
    feed_options.resync_slow = false;
    return 0;
}

static void insert(int count)
{
    while (count-- > 0) {
        feed_insert(&f, users, ROW(INTEGER((int64_t)f.seq + 1), INTEGER(1)));
        feed_commit(&f, 0, NULL);
        feed_publish(&f);
    }
}

/* Changes that are so large that a client which does not read gets stuck. */
static void insert_texts(int count)
{
    static char text[1000];

    memset(text, 'x', sizeof(text));
    while (count-- > 0) {
        feed_insert(&f, texts,
            ROW(INTEGER((int64_t)f.seq + 1), {.p = text, .len = sizeof(text), .type = VALUE_TEXT}));
        feed_commit(&f, 0, NULL);
        feed_publish(&f);
    }
}

static void gap(void)
{
    bool journal = db->journal;

    f.batch->gap = "capture_gap";
    db->journal = false;
    feed_publish(&f);
    db->journal = journal;
}

static void expect_changes(struct client *c, const char *sub, int first, int last)
{
    char part[80];

    for (int i = first; i <= last; i++) {
        snprintf(part, sizeof(part), "{\"subscriptions\":[\"%s\"],\"id\":\"e1:%d\"", sub, i);
        client_expect_part(c, part);
    }
}

static void expect_gap(struct client *c, int seq)
{
    char text[200];

    snprintf(text, sizeof(text),
        "{\"id\":\"c\",\"timestamp\":T,\"type\":\"resync\",\"reason\":\"capture_gap\",\"seq\":%d,"
        "\"data\":{\"reason\":\"capture_gap\",\"seq\":%d}}",
        seq, seq);
    client_expect(c, text);
}

#define USERS "{\"type\":\"subscribe\",\"table\":\"users\""
#define TEXTS "{\"type\":\"subscribe\",\"table\":\"texts\""

static void test_who_is_told(void **state)
{
    static const char *const told[] = {
        USERS "}",
        "{\"type\":\"subscribe\",\"table\":\"*\"}",
        "{\"type\":\"subscribe\",\"channel\":\"tables\"}",
    };
    struct client *c[3], *room = client_new(&f), *idle = client_new(&f);
    struct hub_stats stats;

    (void)state;
    client_subscribe(room, "{\"type\":\"subscribe\",\"channel\":\"room\"}");
    for (int i = 0; i < 3; i++) {
        c[i] = client_new(&f);
        for (int k = 0; k <= i; k++)
            client_subscribe(c[i], told[k]);
    }
    insert(3);
    gap();
    insert(1);
    for (int i = 0; i < 3; i++) {
        for (int seq = 1; seq <= 3; seq++)
            client_expect_part(c[i], "database_change");
        expect_gap(c[i], 4);
        client_expect_part(c[i], "\"id\":\"e1:5\"");
        client_quiet(c[i]);
        client_free(c[i]);
    }
    client_quiet(room);
    client_quiet(idle);
    client_free(room);
    client_free(idle);
    hub_stats(f.hub, &stats);
    assert_int_equal(stats.gaps, 1);
    assert_int_equal(stats.history_after, 4);
}

static void test_nobody_resumes_across(void **state)
{
    static const struct {
        const char *since;
        int from; /* 0: not at all */
    } cases[] = {
        {"2", 0}, {"3", 0}, {"\"e1:3\"", 0}, {"4", 5}, {"\"earliest\"", 5}, {"0", 5}, {"5", 6}};
    char text[100];

    (void)state;
    db->journal = true; /* which says that it has everything */
    insert(3);
    gap();
    insert(2);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct client *c = client_new(&f);

        snprintf(text, sizeof(text), USERS ",\"since\":%s}", cases[i].since);
        client_send(c, text);
        if (cases[i].from) {
            client_expect_part(c, "\"recovered\":true");
            expect_changes(c, "s1", cases[i].from, 6);
        } else {
            client_expect_part(c, "\"seq\":6,\"recovered\":false");
            client_expect_part(c, "\"subscription\":\"s1\",\"reason\":\"history_lost\"");
        }
        client_quiet(c);
        client_send(c, "{\"type\":\"subscribe\",\"channel\":\"tables\",\"since\":3}");
        client_expect_part(c, "\"recovered\":false");
        client_expect_part(c, "history_lost");
        client_free(c);
    }
}

/* It stands far behind, waiting for its reader; another subscription is live. */
static void test_in_a_replay(void **state)
{
    struct client *c = client_new(&f);
    const char *got;
    int seq;

    (void)state;
    insert_texts(3000);
    client_subscribe(c, USERS "}");
    client_send(c, TEXTS ",\"since\":0}");
    client_send(c, TEXTS ",\"since\":1,\"batch\":true}");
    client_send(c, "{\"type\":\"subscribe\",\"channel\":\"tables\",\"since\":1}");
    usleep(50000);
    gap();
    seq = (int)f.seq;
    insert_texts(1);
    while ((got = client_read(c)) && !strstr(got, "resync"))
        assert_null(strstr(got, "e1:3002"));
    assert_non_null(got);
    assert_non_null(strstr(got, "\"reason\":\"capture_gap\",\"seq\":3001,"));
    client_expect_part(c, "{\"subscriptions\":[\"s2\"],\"id\":\"e1:3002\"");
    client_expect_part(c, "\"type\":\"changes\"");
    client_quiet(c);
    assert_int_equal(seq, 3001);
    client_free(c);
}

/* A page of the journal from before it is on its way. */
static void test_in_the_journal(void **state)
{
    struct client *c[20];

    (void)state;
    feed_stop(&f);
    feed_options.db = db = fake_pager_new();
    feed_options.history = 0;
    db->schema = two();
    db->journal = true;
    db->page_changes = 3;
    feed_start(&f, two());
    insert(10);
    fake_pager_hold(db);
    for (int i = 0; i < 20; i++) {
        c[i] = client_new(&f);
        client_subscribe(c[i], USERS ",\"since\":2}");
        if (i % 2)
            client_subscribe(c[i], USERS ",\"since\":5,\"batch\":true}");
        client_quiet(c[i]);
    }
    gap();
    for (int i = 0; i < 20; i++)
        expect_gap(c[i], 11);
    fake_pager_release(db);
    insert(1);
    for (int i = 0; i < 20; i++) {
        client_expect_part(c[i], "{\"subscriptions\":[\"s1\"],\"id\":\"e1:12\"");
        if (i % 2)
            client_expect_part(c[i], "\"type\":\"changes\"");
        client_quiet(c[i]);
        client_free(c[i]);
    }
}

#define SNAPSHOT USERS ",\"snapshot\":true}"

/* Its rows are of before: no more of them come. */
static void test_in_a_snapshot(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    insert(3);
    db->seq = 3;
    db->rows = 1000;
    db->page_rows = 10;
    db->delay_us = 20000;
    client_send(c, SNAPSHOT);
    client_expect_part(c, "\"seq\":3}}");
    client_expect_part(c, "\"last\":false}");
    gap();
    while (client_read(c) && !strstr(c->text, "resync"))
        assert_non_null(strstr(c->text, "\"last\":false}"));
    assert_non_null(strstr(c->text, "\"reason\":\"capture_gap\",\"seq\":4,"));
    client_quiet(c);
    insert(1);
    expect_changes(c, "s1", 5, 5);
    fake_pager_expect_open(db, 0);
    client_quiet(c);
    client_free(c);
}

/* It begins afterwards and shows what came after, or that is found out at its end. */
static void test_before_a_snapshot(void **state)
{
    (void)state;
    db->rows = 2;
    db->journal = true; /* which says that it has everything */
    for (int after = 0; after < 2; after++) {
        struct client *c = client_new(&f);
        int before = (int)f.seq;
        char part[40];

        fake_pager_expect_open(db, 0);
        fake_pager_hold(db);
        client_send(c, SNAPSHOT);
        fake_pager_expect_waiting(db, 1);
        gap();
        db->seq = after ? f.seq : f.seq - 1;
        insert(1);
        client_quiet(c);
        fake_pager_release(db);
        snprintf(part, sizeof(part), "\"seq\":%d}}", (int)db->seq);
        client_expect_part(c, part);
        client_expect_part(c, "\"last\":true");
        if (after)
            expect_changes(c, "s1", before + 2, before + 2);
        else
            client_expect_part(c, "\"subscription\":\"s1\",\"reason\":\"history_lost\"");
        insert(1);
        expect_changes(c, "s1", before + 3, before + 3);
        client_quiet(c);
        client_free(c);
    }
}

/* A snapshot of a later moment than the loop has come to. */
static void test_ahead_of_it(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    insert(3);
    db->seq = 5;
    db->rows = 1;
    client_send(c, SNAPSHOT);
    client_expect_part(c, "\"seq\":5}}");
    client_expect_part(c, "\"last\":true");
    gap();
    insert(1);
    client_quiet(c);
    insert(1);
    expect_changes(c, "s1", 6, 6);
    client_quiet(c);
    client_free(c);
}

/* A transaction that has no end: what was collected of it is not told, nor that it ended. */
static void test_in_a_transaction(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    client_subscribe(c, USERS ",\"batch\":true}");
    for (int round = 0; round < 2; round++) {
        feed_insert(&f, users, ROW(INTEGER(1), INTEGER(1)));
        feed_commit(&f, 0, NULL);
        f.batch->continues = true;
        feed_publish(&f);
        gap();
        expect_gap(c, (int)f.seq);
        client_quiet(c);
        insert(1);
        client_expect_part(c, round ? "\"seq\":6,\"tx\":4," : "\"seq\":3,\"tx\":2,");
        assert_null(strstr(c->text, round ? "e1:4" : "e1:1"));
        assert_null(strstr(c->text, "\"more\""));
    }
    client_quiet(c);
    client_free(c);
}

/* The schema is another after it, and no change said so. */
static void test_with_a_schema(void **state)
{
    struct table *next = TABLE("users", "id:INTEGER:k", "height:INTEGER:");
    struct client *c = client_new(&f);

    (void)state;
    next->id = 3;
    client_subscribe(c, USERS ",\"filter\":\"age=1\"}");
    client_subscribe(c, USERS "}");
    insert(1);
    client_expect_part(c, "{\"subscriptions\":[\"s1\",\"s2\"],");
    feed_commit(&f, 0, schema_of(next, NULL));
    gap();
    client_expect_part(c, "subscription s1 has ended because table users was changed");
    expect_gap(c, 2);
    feed_insert(&f, next, ROW(INTEGER(1), INTEGER(1)));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    client_expect_part(c, "\"data\":{\"id\":1,\"height\":1}");
    assert_non_null(strstr(c->text, "\"seq\":3,\"tx\":3,"));
    client_quiet(c);
    client_send(c, TEXTS "}");
    client_expect_part(c, "NOT_FOUND");
    client_free(c);
}

/* One that is slow is told once, when it has read the rest. */
static void test_a_slow_consumer(void **state)
{
    struct client *stuck, *quick;
    const char *got;

    (void)state;
    feed_stop(&f);
    feed_options.db = db = fake_pager_new();
    feed_options.resync_slow = true;
    feed_start(&f, two());
    stuck = client_new(&f);
    quick = client_new(&f);
    client_subscribe(stuck, TEXTS "}");
    client_subscribe(quick, USERS "}");
    for (int i = 0; i < 40; i++) {
        insert_texts(100);
        client_quiet(quick);
    }
    gap();
    expect_gap(quick, 4001);
    while ((got = client_read(stuck)) && !strstr(got, "resync"))
        continue;
    assert_non_null(got);
    assert_non_null(strstr(got, "\"reason\":\"slow_consumer\",\"seq\":4001,"));
    client_quiet(stuck);
    insert_texts(1);
    expect_changes(stuck, "s1", 4002, 4002);
    client_quiet(stuck);
    client_free(stuck);
    client_free(quick);
}

/* Reads from a stream until that has come. */
static void expect_bytes(int fd, char *text, size_t size, const char *wanted)
{
    size_t len = strlen(text);

    while (!strstr(text, wanted)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        assert_int_equal(poll(&p, 1, 5000), 1);
        n = recv(fd, text + len, size - 1 - len, 0);
        assert_true(n > 0);
        text[len += (size_t)n] = 0;
    }
}

static int stream(const char *request)
{
    const struct hub_client who = {.address = "test", .request = request, .headers = ""};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_true(hub_reserve(f.hub));
    assert_int_equal(hub_adopt(f.hub, pair[1], &sse_dialect, &who, NULL, 0), 0);
    return pair[0];
}

/* The event has the id to go on from; one that lost its snapshot has to come back. */
static void test_streams(void **state)
{
    static char text[1 << 20];
    int fd = stream("table=users");
    char rest[10];

    (void)state;
    expect_bytes(fd, text, sizeof(text), "subscribed");
    gap();
    expect_bytes(fd, text, sizeof(text), "\"reason\":\"capture_gap\",\"seq\":1}}\nid: e1:1\n\n");
    assert_non_null(strstr(text, "event: resync\n"));
    insert(1);
    expect_bytes(fd, text, sizeof(text), "id: e1:2\n\n");
    close(fd);

    text[0] = 0;
    db->seq = 2;
    db->rows = 1000;
    db->page_rows = 10;
    db->delay_us = 20000;
    fd = stream("table=users&snapshot=1");
    expect_bytes(fd, text, sizeof(text), "\"last\":false");
    gap();
    expect_bytes(fd, text, sizeof(text), "\"reason\":\"capture_gap\",\"seq\":3}}\n\n");
    while (recv(fd, rest, sizeof(rest), 0) > 0)
        continue;
    close(fd);
    fake_pager_expect_open(db, 0);
}

/* Told, or the connection ends. */
static void test_memory(void **state)
{
    bool hit = true;

    (void)state;
    for (long n = 0; hit && n < 1000; n++) {
        struct client *c = client_new(&f);
        const char *got;

        client_subscribe(c, USERS ",\"batch\":true}");
        insert(1);
        client_expect_part(c, "\"type\":\"changes\"");
        f.batch->gap = "capture_gap";
        mem_fail_after(n);
        batch_seal(f.batch, &f.seq, &f.tx);
        hub_publish(f.hub, f.batch);
        got = client_read(c);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        batch_unref(f.batch);
        f.batch = batch_new(0);
        if (got) {
            assert_non_null(strstr(got, "capture_gap"));
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
        CASE(test_who_is_told),
        CASE(test_nobody_resumes_across),
        CASE(test_in_a_replay),
        CASE(test_in_the_journal),
        CASE(test_in_a_snapshot),
        CASE(test_before_a_snapshot),
        CASE(test_ahead_of_it),
        CASE(test_in_a_transaction),
        CASE(test_with_a_schema),
        CASE(test_a_slow_consumer),
        CASE(test_streams),
        CASE(test_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
