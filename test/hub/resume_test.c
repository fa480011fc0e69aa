#include "hub_fixture.h"

#include "base/clock.h"
#include "base/mem.h"
#include "net/ws.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Getting the past: what is kept, what is replayed, and what is said when it cannot be. */

static struct feed f;
static struct table *users;

static struct table *table(const char *name, uint64_t id, const char *second)
{
    struct table *t = TABLE(name, "id:INTEGER:k", second);

    t->id = id;
    return t;
}

static int setup(void **state)
{
    (void)state;
    users = table("users", 1, "age:INTEGER:");
    feed_start(&f, schema_of(users, NULL));
    users = table_ref(users);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    table_unref(users);
    feed_stop(&f);
    feed_options.history = 1 << 26;
    feed_options.loops = 1;
    feed_options.max_queue = 1 << 20;
    feed_options.max_backlog = 1 << 26;
    feed_options.seq = 0;
    return 0;
}

static int setup_small_backlog(void **state)
{
    feed_options.max_backlog = 8192;
    return setup(state);
}

static void insert_age(int64_t id, int64_t age)
{
    feed_insert(&f, users, ROW(INTEGER(id), INTEGER(age)));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
}

static void insert(int from, int to)
{
    for (int i = from; i <= to; i++)
        insert_age(i, i % 10);
}

/* The changes first..last arrive for s1, one message each. */
static void expect_changes(struct client *c, int first, int last)
{
    char part[80];

    for (int i = first; i <= last; i++) {
        snprintf(part, sizeof(part), "{\"subscriptions\":[\"s1\"],\"id\":\"e1:%d\"", i);
        client_expect_part(c, part);
    }
}

#define USERS "{\"type\":\"subscribe\",\"table\":\"users\""

static void test_forms_of_since(void **state)
{
    static const struct {
        const char *since;
        int seq;
    } good[] = {
        {"\"since\":2", 2},
        {"\"since\":2,\"epoch\":\"e1\"", 2},
        {"\"since\":\"e1:2\"", 2},
        {"\"since\":\"e1:2\",\"epoch\":\"e1\"", 2},
        {"\"since\":\"earliest\"", 0},
        {"\"since\":0", 0},
        {"\"since\":0,\"epoch\":\"e1\"", 0},
        {"\"since\":4", 4},
    };
    static const struct {
        const char *since, *reason;
    } bad[] = {
        {"\"since\":5", "future"},
        {"\"since\":2,\"epoch\":\"e2\"", "epoch_changed"},
        {"\"since\":\"e:1:2\"", "epoch_changed"},
        {"\"since\":\"earliest\",\"epoch\":\"\"", "epoch_changed"},
    };
    char text[256];

    (void)state;
    insert(1, 4);
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        struct client *c = client_new(&f);

        snprintf(text, sizeof(text), USERS ",%s}", good[i].since);
        client_send(c, text);
        snprintf(text, sizeof(text),
            "{\"id\":\"c\",\"timestamp\":T,\"type\":\"subscribed\",\"data\":{"
            "\"subscription\":\"s1\",\"table\":\"users\",\"seq\":%d,\"recovered\":true}}",
            good[i].seq);
        client_expect(c, text);
        expect_changes(c, good[i].seq + 1, 4);
        client_quiet(c);
        client_free(c);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct client *c = client_new(&f);

        snprintf(text, sizeof(text), USERS ",%s}", bad[i].since);
        client_send(c, text);
        client_expect_part(c, "\"seq\":4,\"recovered\":false}}");
        snprintf(text, sizeof(text),
            "{\"id\":\"c\",\"timestamp\":T,\"type\":\"resync\",\"subscription\":\"s1\","
            "\"reason\":\"%s\",\"data\":{\"subscription\":\"s1\",\"reason\":\"%s\"}}",
            bad[i].reason, bad[i].reason);
        client_expect(c, text);
        client_quiet(c);
        client_free(c);
    }
}

/*
 * A loop without connections is not woken for each batch; but what it is left with is bounded, and
 * whoever comes finds all of it.
 */
static void test_without_connections(void **state)
{
    int64_t began = clock_mono_ms();
    struct client *c;

    (void)state;
    insert(1, 3000);
    c = client_new(&f);
    client_subscribe(c, USERS ",\"since\":2990}");
    expect_changes(c, 2991, 3000);
    insert(3001, 3002);
    expect_changes(c, 3001, 3002);
    client_quiet(c);
    client_free(c);
    /* A loop that has to be woken and is not looks after a second. */
    assert_true(clock_mono_ms() - began < 2000);
}

static void test_live_follows_the_past(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    insert(1, 3);
    client_subscribe(c, USERS ",\"since\":1}");
    insert(4, 5);
    expect_changes(c, 2, 5);
    client_quiet(c);
    client_free(c);
}

static void test_filters_events_columns_transitions(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    insert_age(1, 10);
    feed_update(&f, users, ROW(INTEGER(1), INTEGER(10)), ROW(INTEGER(1), INTEGER(20)));
    feed_update(&f, users, ROW(INTEGER(1), INTEGER(20)), ROW(INTEGER(1), INTEGER(21)));
    feed_update(&f, users, ROW(INTEGER(1), INTEGER(21)), ROW(INTEGER(1), INTEGER(11)));
    feed_delete(&f, users, ROW(INTEGER(1), INTEGER(11)));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    client_subscribe(c, USERS ",\"since\":0,\"filter\":\"age>=20\",\"columns\":[\"age\"]}");
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"transition\":\"enter\",\"id\":\"e1:2\"");
    assert_non_null(strstr(c->text, "\"data\":{\"age\":20},\"old\":{\"age\":10}"));
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:3\"");
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"transition\":\"leave\",\"id\":\"e1:4\"");
    client_quiet(c);
    client_subscribe(c, USERS ",\"since\":0,\"events\":[\"DELETE\"]}");
    client_expect_part(c, "{\"subscriptions\":[\"s2\"],\"id\":\"e1:5\"");
    client_quiet(c);
    client_free(c);
}

static void test_self(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    for (int i = 1; i <= 4; i++) {
        feed_insert(&f, users, ROW(INTEGER(i), INTEGER(1)));
        feed_commit(&f, i % 2 ? c->id : 0, NULL);
    }
    feed_publish(&f);
    client_subscribe(c, USERS ",\"since\":0,\"self\":false}");
    client_expect_part(c, "\"id\":\"e1:2\"");
    client_expect_part(c, "\"id\":\"e1:4\"");
    client_quiet(c);
    client_free(c);
}

static void test_a_transaction_in_one_message(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    for (int t = 0; t < 2; t++) {
        feed_insert(&f, users, ROW(INTEGER(2 * t), INTEGER(1)));
        feed_insert(&f, users, ROW(INTEGER(2 * t + 1), INTEGER(1)));
        feed_commit(&f, 0, NULL);
    }
    feed_publish(&f);
    client_subscribe(c, USERS ",\"since\":1,\"batch\":true}");
    client_expect_part(c, "\"type\":\"changes\",\"channel\":\"tables\",\"seq\":2,\"tx\":1");
    assert_null(strstr(c->text, "e1:1\""));
    client_expect_part(c, "\"type\":\"changes\",\"channel\":\"tables\",\"seq\":4,\"tx\":2");
    assert_non_null(strstr(c->text, "e1:3\""));
    assert_null(strstr(c->text, "\"more\""));
    client_quiet(c);
    client_free(c);
}

/* A transaction of many slices still is one: all but its last message say that more follows. */
static void test_a_large_transaction_in_slices(void **state)
{
    enum { ROWS = 30000 };
    struct client *c = client_new(&f);
    int seen = 0;
    const char *p;

    (void)state;
    for (int i = 1; i <= ROWS; i++)
        feed_insert(&f, users, ROW(INTEGER(i), INTEGER(1)));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    client_subscribe(c, USERS ",\"since\":0,\"batch\":true}");
    while (seen < ROWS) {
        char part[40];

        client_expect_part(c, "\"type\":\"changes\"");
        for (p = strstr(c->text, "\"changes\":["); (p = strstr(p, "\"id\":\"e1:")); p++) {
            snprintf(part, sizeof(part), "\"id\":\"e1:%d\"", ++seen);
            assert_memory_equal(p, part, strlen(part));
        }
        assert_int_equal(strstr(c->text, "\"more\":true") != NULL, seen < ROWS);
    }
    client_quiet(c);
    client_free(c);
}

/* Sends the same request twice, so that both arrive at once. */
static void send_twice(struct client *c, const char *text)
{
    static const uint8_t key[4] = {1, 2, 3, 4};
    size_t len = strlen(text), used = 0;
    uint8_t *both = malloc(2 * (len + WS_HEADER_MAX));

    for (int i = 0; i < 2; i++) {
        used += ws_header_client(both + used, WS_TEXT, len, key);
        memcpy(both + used, text, len);
        ws_mask(both + used, len, key, 0);
        used += len;
    }
    assert_int_equal(write(c->fd, both, used), used);
    free(both);
}

/* Two requests that arrive together stand at the same change. */
static void test_together_in_one_message(void **state)
{
    struct client *c = client_new(&f), *every = client_new(&f);

    (void)state;
    insert(1, 3);
    client_subscribe(every, "{\"type\":\"subscribe\",\"table\":\"*\",\"since\":1}");
    expect_changes(every, 2, 3);
    send_twice(c, USERS ",\"since\":1}");
    client_expect_part(c, "\"subscription\":\"s1\"");
    client_expect_part(c, "\"subscription\":\"s2\"");
    client_expect_part(c, "{\"subscriptions\":[\"s1\",\"s2\"],\"id\":\"e1:2\"");
    client_expect_part(c, "{\"subscriptions\":[\"s1\",\"s2\"],\"id\":\"e1:3\"");
    insert(4, 4);
    client_expect_part(c, "{\"subscriptions\":[\"s1\",\"s2\"],\"id\":\"e1:4\"");
    expect_changes(every, 4, 4);
    client_quiet(c);
    client_free(every);
    client_free(c);
}

/* One of two leaves in the middle of a transaction: the other still gets it whole, with its end. */
static void test_leaving_in_a_transaction(void **state)
{
    enum { ROWS = 30000 };
    struct client *c = client_new(&f);
    bool left = false, more = true;
    int seen = 0;

    (void)state;
    for (int i = 1; i <= ROWS; i++)
        feed_insert(&f, users, ROW(INTEGER(i), INTEGER(1)));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    send_twice(c, USERS ",\"since\":0,\"batch\":true}");
    client_expect_part(c, "\"subscription\":\"s1\"");
    client_expect_part(c, "\"subscription\":\"s2\"");
    usleep(20000);
    client_send(c, "{\"type\":\"unsubscribe\",\"subscription\":\"s1\"}");
    while (more) {
        const char *p = client_read(c);

        assert_non_null(p);
        assert_false(left && strstr(p, "\"s1\""));
        more = strstr(p, "\"more\":true") || strstr(p, "unsubscribed");
        left = left || strstr(p, "unsubscribed");
        for (; (p = strstr(p, "{\"subscriptions\":[")); p++)
            seen++;
    }
    assert_true(left);
    assert_int_equal(seen, ROWS);
    client_quiet(c);
    client_free(c);
}

static void test_history_is_bounded(void **state)
{
    struct client *c;
    unsigned long first;

    (void)state;
    feed_stop(&f);
    feed_options.history = 100000;
    feed_options.seq = 1000;
    feed_start(&f, schema_of(table_ref(users), NULL));
    f.seq = 1000;
    c = client_new(&f);
    client_send(c, USERS ",\"since\":999}");
    client_expect_part(c, "\"recovered\":false");
    client_expect_part(c, "history_lost");
    client_send(c, "{\"type\":\"unsubscribe\"}");
    client_expect_part(c, "unsubscribed");
    insert(1, 500);
    client_send(c, USERS ",\"since\":\"earliest\"}");
    client_expect_part(c, "\"recovered\":true");
    first = strtoul(strstr(c->text, "\"seq\":") + 6, NULL, 10);
    assert_in_range(first, 1200, 1499);
    for (unsigned long i = first + 1; i <= 1500; i++) {
        char part[40];

        snprintf(part, sizeof(part), "\"id\":\"e1:%lu\"", i);
        client_expect_part(c, part);
    }
    client_quiet(c);
    client_send(c, "{\"type\":\"unsubscribe\"}");
    client_expect_part(c, "unsubscribed");
    /* With an epoch 0 is where someone stood, not "what there is". */
    client_send(c, USERS ",\"since\":0,\"epoch\":\"e1\"}");
    client_expect_part(c, "\"recovered\":false");
    client_expect_part(c, "history_lost");
    client_send(c, "{\"type\":\"unsubscribe\"}");
    client_expect_part(c, "unsubscribed");
    /* Larger than all that may be kept. */
    for (int i = 0; i < 5000; i++)
        feed_insert(&f, users, ROW(INTEGER(i), INTEGER(1)));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    client_quiet(c);
    client_send(c, USERS ",\"since\":\"earliest\"}");
    client_expect_part(c, "\"seq\":6500,\"recovered\":true");
    client_quiet(c);
    client_free(c);
}

static void test_no_history(void **state)
{
    struct client *c;

    (void)state;
    feed_stop(&f);
    feed_options.history = 0;
    feed_start(&f, schema_of(table_ref(users), NULL));
    c = client_new(&f);
    insert(1, 2);
    client_quiet(c);
    client_send(c, USERS ",\"since\":1}");
    client_expect_part(c, "\"seq\":2,\"recovered\":false");
    client_expect_part(c, "history_lost");
    insert(3, 3);
    expect_changes(c, 3, 3);
    client_free(c);
}

/* Old rows have an older definition: the filter and the columns apply to that one. */
static void test_ddl_in_the_past(void **state)
{
    struct table *wider = TABLE("USERS", "name:TEXT:", "id:INTEGER:k", "age:INTEGER:");
    struct client *c = client_new(&f);

    (void)state;
    insert_age(1, 10);
    feed_ddl(&f, CHANGE_TABLE_ALTERED, wider, users);
    feed_insert(&f, wider, ROW(TEXT("x"), INTEGER(2), INTEGER(10)));
    feed_commit(&f, 0, schema_of(wider, NULL));
    feed_publish(&f);
    client_subscribe(c, USERS ",\"since\":0,\"filter\":\"age=10\",\"columns\":[\"id\",\"age\"]}");
    client_expect_part(c, "\"table\":\"users\",\"event\":\"INSERT\",\"key\":{\"id\":1},"
                          "\"data\":{\"id\":1,\"age\":10}");
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:2\"");
    client_expect_part(c, "\"table\":\"USERS\",\"event\":\"INSERT\",\"key\":{\"id\":2},"
                          "\"data\":{\"id\":2,\"age\":10}");
    /* A column that was not there then. */
    client_send(c, USERS ",\"since\":0,\"filter\":\"name='x'\"}");
    client_expect_part(c, "\"recovered\":true");
    client_expect_part(c, "\"type\":\"resync\",\"subscription\":\"s2\",\"reason\":"
                          "\"schema_changed\"");
    client_quiet(c);
    client_send(c, USERS ",\"since\":1,\"columns\":[\"name\"]}");
    client_expect_part(c, "\"recovered\":true");
    client_expect_part(c, "{\"subscriptions\":[\"s3\"],\"id\":\"e1:2\"");
    client_expect_part(c, "{\"subscriptions\":[\"s3\"],\"id\":\"e1:3\"");
    feed_insert(&f, wider, ROW(TEXT("x"), INTEGER(3), INTEGER(11)));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    client_expect_part(c, "{\"subscriptions\":[\"s2\"],\"id\":\"e1:4\"");
    client_expect_part(c, "{\"subscriptions\":[\"s3\"],\"id\":\"e1:4\"");
    client_quiet(c);
    client_free(c);
}

/* Under the name of today an earlier table was dropped. */
static void test_an_earlier_table_of_the_name(void **state)
{
    struct table *next = table("users", 2, "age:INTEGER:");
    struct client *c = client_new(&f);

    (void)state;
    insert_age(1, 10);
    feed_ddl(&f, CHANGE_TABLE_CREATED, next, NULL);
    feed_delete(&f, users, ROW(INTEGER(1), INTEGER(10)));
    feed_insert(&f, next, ROW(INTEGER(2), INTEGER(10)));
    feed_ddl(&f, CHANGE_TABLE_DROPPED, users, NULL);
    feed_commit(&f, 0, schema_of(next, NULL));
    feed_publish(&f);
    client_subscribe(c, USERS ",\"since\":0}");
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:1\"");
    for (int seq = 3; seq <= 5; seq++) {
        char part[50];

        snprintf(part, sizeof(part), "{\"subscriptions\":[\"s1\"],\"id\":\"e1:%d\"", seq);
        client_expect_part(c, part);
    }
    client_quiet(c);
    client_free(c);
}

#define TABLES "{\"type\":\"subscribe\",\"channel\":\"tables\""

static void test_channel_tables(void **state)
{
    struct table *notes = table("notes", 2, "text:INTEGER:");
    struct client *c = client_new(&f);

    (void)state;
    insert(1, 1);
    feed_ddl(&f, CHANGE_TABLE_CREATED, notes, NULL);
    feed_insert(&f, notes, ROW(INTEGER(1), INTEGER(1)));
    feed_commit(&f, 0, schema_of(table_ref(users), notes, NULL));
    feed_publish(&f);
    client_send(c, TABLES ",\"since\":0}");
    client_expect_part(c, "\"data\":{\"channel\":\"tables\",\"seq\":0,\"recovered\":true}}");
    client_expect_part(c, "\"type\":\"table:created\",\"channel\":\"tables\",\"seq\":2");
    client_quiet(c);
    /* It is heard already: nothing comes twice, and nothing that came before can be had. */
    client_send(c, TABLES ",\"since\":1}");
    client_expect_part(c, "\"seq\":1,\"recovered\":true}}");
    client_quiet(c);
    feed_ddl(&f, CHANGE_TABLE_DROPPED, notes, NULL);
    feed_commit(&f, 0, schema_of(table_ref(users), NULL));
    feed_publish(&f);
    client_expect_part(c, "\"type\":\"table:dropped\",\"channel\":\"tables\",\"seq\":4");
    client_send(c, "{\"type\":\"unsubscribe\",\"channel\":\"tables\"}");
    client_expect_part(c, "unsubscribed");
    client_send(c, TABLES "}");
    client_expect_part(c, "\"seq\":4}}");
    client_send(c, TABLES ",\"since\":1}");
    client_expect_part(c, "CONFLICT");
    client_send(c, TABLES ",\"since\":9}");
    client_expect_part(c, "\"seq\":4,\"recovered\":false}}");
    client_expect_part(c, "\"type\":\"resync\",\"channel\":\"tables\",\"reason\":\"future\"");
    client_send(c, "{\"type\":\"subscribe\",\"channel\":\"room\",\"since\":1}");
    client_expect_part(c, "INVALID_FORMAT");
    client_quiet(c);
    client_free(c);
}

struct writer {
    int commits;
};

static void *write_rows(void *arg)
{
    struct writer *w = arg;

    for (int i = 1; i <= w->commits; i++)
        insert_age(i, 1);
    return NULL;
}

static void test_resuming_while_writing(void **state)
{
    enum { COMMITS = 2000, CLIENTS = 4 };
    struct writer w = {COMMITS};
    struct client *c[CLIENTS];
    pthread_t thread;

    (void)state;
    feed_stop(&f);
    feed_options.loops = 2;
    feed_options.max_backlog = 4000;
    feed_start(&f, schema_of(table_ref(users), NULL));
    for (int i = 0; i < CLIENTS; i++)
        c[i] = client_new(&f);
    assert_int_equal(pthread_create(&thread, NULL, write_rows, &w), 0);
    for (int i = 0; i < CLIENTS; i++) {
        usleep(3000);
        client_subscribe(c[i], USERS ",\"since\":0}");
    }
    for (int i = 0; i < CLIENTS; i++)
        expect_changes(c[i], 1, COMMITS);
    pthread_join(thread, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        client_quiet(c[i]);
        client_free(c[i]);
    }
}

/* What is live for others does not wait for the end of somebody's long way through the past. */
static void test_others_do_not_wait(void **state)
{
    enum { ROWS = 300000 };
    struct client *c, *live;
    bool early = false;
    struct pollfd p = {.events = POLLIN};

    (void)state;
    feed_stop(&f);
    feed_options.history = 1 << 28;
    feed_start(&f, schema_of(table_ref(users), NULL));
    live = client_new(&f);
    for (int i = 1; i <= ROWS; i++)
        feed_insert(&f, users, ROW(INTEGER(i), INTEGER(i == ROWS)));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    client_subscribe(live, USERS "}");
    /* Several times: a busy machine may stop this thread until the replay is over. */
    for (int i = 1; !early && i <= 10; i++) {
        c = client_new(&f);
        client_subscribe(c, USERS ",\"since\":0,\"filter\":\"age=1\"}");
        insert_age(1, 1);
        expect_changes(live, ROWS + i, ROWS + i);
        p.fd = c->fd;
        early = poll(&p, 1, 0) == 0;
        expect_changes(c, ROWS, ROWS + i);
        client_quiet(c);
        client_free(c);
    }
    assert_true(early);
    client_free(live);
}

/* Rows of a kilobyte, so that a socket's buffer does not take them all. */
static struct table *texts;

static void insert_text(int id)
{
    static char text[1000];
    struct value row[2] = {INTEGER(id), {.p = text, .len = sizeof(text), .type = VALUE_TEXT}};

    memset(text, 'x', sizeof(text));
    feed_insert(&f, texts, row);
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
}

#define TEXTS "{\"type\":\"subscribe\",\"table\":\"texts\""

static void start_texts(size_t history)
{
    feed_stop(&f);
    feed_options.history = history;
    texts = table("texts", 5, "text:TEXT:");
    feed_start(&f, schema_of(table_ref(users), texts, NULL));
}

/* A replay that waits for its reader stops nobody, and goes on when it reads. */
static void test_a_slow_reader(void **state)
{
    enum { ROWS = 4000 };
    struct client *slow, *live;

    (void)state;
    start_texts(1 << 26);
    slow = client_new(&f);
    live = client_new(&f);
    for (int i = 1; i <= ROWS; i++)
        insert_text(i);
    client_subscribe(live, USERS "}");
    client_send(slow, TEXTS ",\"since\":0}");
    client_quiet(live);
    insert(1, 50);
    for (int i = ROWS + 1; i <= ROWS + 50; i++)
        expect_changes(live, i, i);
    insert_text(ROWS + 51);
    client_expect_part(slow, "\"recovered\":true");
    expect_changes(slow, 1, ROWS);
    expect_changes(slow, ROWS + 51, ROWS + 51);
    client_quiet(slow);
    client_free(slow);
    client_free(live);
}

/* While it waits, what it has not read yet is dropped from the history. */
static void test_a_reader_too_slow_for_the_history(void **state)
{
    enum { ROWS = 4000 };
    struct client *slow;
    unsigned long seq, first;
    const char *got;

    (void)state;
    start_texts(10 << 20);
    slow = client_new(&f);
    for (int i = 1; i <= ROWS; i++)
        insert_text(i);
    client_send(slow, TEXTS ",\"since\":0}");
    client_expect_part(slow, "\"recovered\":true");
    seq = first = strtoul(strstr(slow->text, "\"seq\":") + 6, NULL, 10);
    usleep(50000);
    for (int i = ROWS + 1; i <= 4 * ROWS; i++)
        insert_text(i);
    while ((got = client_read(slow)) && !strstr(got, "resync")) {
        char part[40];

        snprintf(part, sizeof(part), "\"id\":\"e1:%lu\"", ++seq);
        assert_non_null(strstr(got, part));
    }
    assert_non_null(got);
    assert_non_null(strstr(got, "\"subscription\":\"s1\",\"reason\":\"history_lost\""));
    assert_in_range(seq, first + 10, ROWS);
    client_quiet(slow);
    insert_text(4 * ROWS + 1);
    expect_changes(slow, 4 * ROWS + 1, 4 * ROWS + 1);
    client_quiet(slow);
    client_free(slow);
}

/* Leaving on the way: by unsubscribing, by going away. */
static void test_ending_a_replay(void **state)
{
    enum { ROWS = 4000 };
    struct client *c;
    const char *got;

    (void)state;
    start_texts(1 << 26);
    for (int i = 1; i <= ROWS; i++)
        insert_text(i);
    c = client_new(&f);
    client_send(c, TEXTS ",\"since\":0}");
    client_send(c, TEXTS ",\"since\":0,\"batch\":true}");
    client_send(c, "{\"type\":\"unsubscribe\",\"subscription\":\"s1\"}");
    client_send(c, "{\"type\":\"unsubscribe\"}");
    do
        got = client_read(c);
    while (got && !strstr(got, "\"subscriptions\":[\"s2\"]}}"));
    assert_non_null(got);
    client_quiet(c);
    client_send(c, TEXTS ",\"since\":0}");
    client_expect_part(c, "subscribed");
    client_free(c);
    c = client_new(&f);
    client_quiet(c);
    client_free(c);
}

/* The past as asked for, or the connection ends, or a resync says that it is lost. */
static void test_memory(void **state)
{
    bool hit = true;

    (void)state;
    insert(1, 5);
    for (long n = 0; hit && n < 1000; n++) {
        struct client *c = client_new(&f);
        const char *got;
        int seq = 1;

        mem_fail_after(n);
        client_send(c, USERS ",\"since\":1,\"columns\":[\"age\"],\"filter\":\"age in (2,3,4,5)\","
                             "\"batch\":true}");
        got = client_read(c);
        assert_true(got ? strstr(got, "\"recovered\":true") != NULL : true);
        while (got && seq < 5 && (got = client_read(c)))
            seq++;
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (got) {
            assert_int_equal(seq, 5);
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
        CASE(test_forms_of_since),
        CASE(test_without_connections),
        cmocka_unit_test_setup_teardown(test_without_connections, setup_small_backlog, teardown),
        CASE(test_live_follows_the_past),
        CASE(test_filters_events_columns_transitions),
        CASE(test_self),
        CASE(test_a_transaction_in_one_message),
        CASE(test_a_large_transaction_in_slices),
        CASE(test_together_in_one_message),
        CASE(test_leaving_in_a_transaction),
        CASE(test_history_is_bounded),
        CASE(test_no_history),
        CASE(test_ddl_in_the_past),
        CASE(test_an_earlier_table_of_the_name),
        CASE(test_channel_tables),
        CASE(test_resuming_while_writing),
        CASE(test_others_do_not_wait),
        CASE(test_a_slow_reader),
        CASE(test_a_reader_too_slow_for_the_history),
        CASE(test_ending_a_replay),
        CASE(test_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
