#include "hub_fixture.h"

#include "base/mem.h"
#include "net/ws.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Memory that runs out, readers that do not read, many at once, the end. */

static struct table *users(uint64_t id)
{
    struct table *t = TABLE("users", "id:INTEGER:k", "name:TEXT:");

    t->id = id;
    return t;
}

static const struct table *first_table(const struct feed *f)
{
    return f->schema->tables[0];
}

#define SUBSCRIBE                                                                                  \
    "{\"type\":\"subscribe\",\"requestId\":\"r\",\"table\":\"users\",\"filter\":[\"id in (1,2)\"," \
    "\"name='x'\"],\"columns\":[\"name\"]}"
#define X ROW(INTEGER(1), TEXT("x"))

static void publish_one(struct feed *f)
{
    feed_insert(f, first_table(f), X);
    feed_commit(f, 0, NULL);
    feed_publish(f);
}

/* Each allocation of a connection's start fails in turn: it is acknowledged, or it is closed. */
static void test_connecting(void **state)
{
    struct feed f;
    bool hit = true;
    struct hub_stats stats;

    (void)state;
    feed_start(&f, schema_of(users(1), NULL));
    for (long n = 0; hit && n < 1000; n++) {
        struct client *c;
        const char *got;

        mem_fail_after(n);
        c = client_raw(&f);
        got = client_read(c);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        assert_true(got ? strstr(got, "connection:ack") != NULL : hit);
        client_free(c);
    }
    assert_false(hit);
    for (int i = 0; i < 200; i++, usleep(10000)) {
        hub_stats(f.hub, &stats);
        if (!stats.connections)
            break;
    }
    assert_int_equal(stats.connections, 0);
    feed_stop(&f);
}

/* A subscription is there with all its changes, or the client knows that it is not. */
static void test_subscribing(void **state)
{
    struct feed f;
    bool hit = true;

    (void)state;
    feed_start(&f, schema_of(users(1), NULL));
    for (long n = 0; hit && n < 1000; n++) {
        struct client *c = client_new(&f);
        const char *got;

        mem_fail_after(n);
        client_send(c, SUBSCRIBE);
        got = client_read(c);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (!got) {
            assert_true(hit);
            assert_int_equal(c->code, WS_CLOSE_INTERNAL);
        } else {
            assert_non_null(strstr(got, "\"subscribed\""));
            publish_one(&f);
            client_expect_part(c, "database_change");
            client_send(c, "{\"type\":\"unsubscribe\"}");
            client_expect_part(c, "unsubscribed");
        }
        client_free(c);
    }
    assert_false(hit);
    feed_stop(&f);
}

/* Publishing, with a schema that changes on the way: every change arrives, or the connection ends.
 */
static void test_publishing(void **state)
{
    struct feed f;
    bool hit = true;

    (void)state;
    feed_start(&f, schema_of(users(1), NULL));
    for (long n = 0; hit && n < 1000; n++) {
        struct client *c = client_new(&f);
        struct table *successor = users((uint64_t)n + 2);
        const char *got;
        int changes = 0;

        client_subscribe(c, SUBSCRIBE);
        client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"*\"}");
        client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"batch\":true}");
        client_subscribe(c, "{\"type\":\"subscribe\",\"channel\":\"tables\"}");
        feed_ddl(&f, CHANGE_TABLE_CREATED, successor, NULL);
        feed_insert(&f, successor, X);
        feed_delete(&f, first_table(&f), X);
        feed_ddl(&f, CHANGE_TABLE_DROPPED, first_table(&f), NULL);
        feed_commit(&f, 0, schema_of(successor, NULL));
        batch_seal(f.batch, &f.seq, &f.tx);
        mem_fail_after(n);
        hub_publish(f.hub, f.batch);
        while (changes < 7 && (got = client_read(c)))
            changes += strstr(got, "\"seq\":") != NULL;
        hit = mem_fail_hit();
        mem_fail_after(-1);
        batch_unref(f.batch);
        f.batch = batch_new(0);
        if (changes == 7) {
            client_quiet(c);
        } else {
            assert_true(hit);
            assert_int_equal(c->code, WS_CLOSE_INTERNAL);
        }
        client_free(c);
    }
    assert_false(hit);
    feed_stop(&f);
}

static void test_slow_consumer(void **state)
{
    struct feed f;
    struct client *slow, *quick;
    char *text = malloc(100000);
    struct value row[2] = {INTEGER(1), {.p = text, .len = 100000, .type = VALUE_TEXT}};
    const char *got, *last = NULL;

    (void)state;
    memset(text, 'y', 100000);
    feed_start(&f, schema_of(users(1), NULL));
    slow = client_new(&f);
    quick = client_new(&f);
    client_subscribe(slow, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    client_subscribe(quick, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    for (int i = 0; i < 40; i++) {
        feed_insert(&f, first_table(&f), row);
        feed_commit(&f, 0, NULL);
        feed_publish(&f);
        client_expect_part(quick, "database_change");
    }
    while ((got = client_read(slow)))
        last = got;
    assert_non_null(last);
    assert_string_equal(last,
        "{\"id\":\"c\",\"timestamp\":T,\"type\":\"resync\","
        "\"reason\":\"slow_consumer\",\"data\":{\"reason\":\"slow_consumer\"}}");
    assert_int_equal(slow->code, WS_CLOSE_TRY_LATER);
    client_quiet(quick);
    client_free(slow);
    client_free(quick);
    feed_stop(&f);
    free(text);
}

/* 10,000 subscriptions on a few connections and loops: each sees its own rows once, in order. */
static void test_many_subscriptions(void **state)
{
    enum { CLIENTS = 4, EACH = 2500, ROWS = 200 };
    struct feed f;
    struct client *c[CLIENTS];
    char text[200];

    (void)state;
    feed_options.loops = 2;
    feed_options.max_subscriptions = EACH + 1;
    feed_start(&f, schema_of(users(1), NULL));
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = client_new(&f);
        for (int j = 0; j < EACH; j++) {
            snprintf(text, sizeof(text),
                "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"id=%d\"}", j / 2);
            client_send(c[i], text);
            if (j % 100 == 99)
                for (int k = 0; k < 100; k++)
                    client_expect_part(c[i], "\"subscribed\"");
        }
    }
    for (int i = 0; i < ROWS; i++) {
        feed_insert(&f, first_table(&f), ROW(INTEGER(i), TEXT("x")));
        feed_commit(&f, 0, NULL);
        feed_publish(&f);
    }
    for (int i = 0; i < CLIENTS; i++) {
        for (int j = 0; j < ROWS; j++) {
            snprintf(text, sizeof(text), "{\"subscriptions\":[\"s%d\",\"s%d\"],\"id\":\"e1:%d\"",
                2 * j + 1, 2 * j + 2, j + 1);
            client_expect_part(c[i], text);
        }
        client_quiet(c[i]);
        client_subscribe(c[i], "{\"type\":\"subscribe\",\"table\":\"users\"}");
        client_send(c[i], "{\"type\":\"unsubscribe\",\"table\":\"users\"}");
        client_expect_part(c[i], "\"s2500\",\"s2501\"]");
        client_free(c[i]);
    }
    feed_options.loops = 1;
    feed_options.max_subscriptions = 100;
    feed_stop(&f);
}

struct writer {
    struct feed *f;
    int commits;
};

static void *write_rows(void *arg)
{
    struct writer *w = arg;

    for (int i = 0; i < w->commits; i++)
        publish_one(w->f);
    return NULL;
}

/* Subscribing while commits go on: from `seq` + 1 on everything, once, in order. */
static void test_subscribing_while_writing(void **state)
{
    enum { COMMITS = 2000 };
    struct feed f;
    struct client *c[3];
    struct writer w = {&f, COMMITS};
    pthread_t thread;

    (void)state;
    feed_options.loops = 2;
    feed_options.max_backlog = 4000;
    feed_start(&f, schema_of(users(1), NULL));
    for (int i = 0; i < 3; i++)
        c[i] = client_new(&f);
    assert_int_equal(pthread_create(&thread, NULL, write_rows, &w), 0);
    for (int i = 0; i < 3; i++) {
        unsigned long seq;
        char part[64];

        client_send(c[i], "{\"type\":\"subscribe\",\"table\":\"users\"}");
        client_expect_part(c[i], "\"subscribed\"");
        seq = strtoul(strstr(c[i]->text, "\"seq\":") + 6, NULL, 10);
        while (seq < COMMITS) {
            snprintf(part, sizeof(part), "\"id\":\"e1:%lu\"", ++seq);
            client_expect_part(c[i], part);
        }
    }
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++) {
        client_quiet(c[i]);
        client_free(c[i]);
    }
    feed_stop(&f);
    feed_options.loops = 1;
    feed_options.max_backlog = 1 << 26;
}

static void *write_until_told(void *arg)
{
    return write_rows(arg);
}

/* Stopping with a writer at work: nobody hangs, clients hear 1012, nothing is adopted any more. */
static void test_stopping(void **state)
{
    struct feed f;
    struct client *c, *late;
    struct writer w = {&f, 20000};
    pthread_t thread;

    (void)state;
    feed_options.max_backlog = 1;
    feed_start(&f, schema_of(users(1), NULL));
    c = client_new(&f);
    assert_int_equal(pthread_create(&thread, NULL, write_until_told, &w), 0);
    usleep(20000);
    hub_stop(f.hub, 300);
    pthread_join(thread, NULL);
    client_expect_close(c, WS_CLOSE_RESTART);
    late = client_raw(&f);
    assert_null(client_read(late));
    client_free(late);
    client_free(c);
    feed_stop(&f);
    feed_options.max_backlog = 1 << 26;
}

static void test_full(void **state)
{
    struct feed f;
    struct client *c;
    bool freed = false;

    (void)state;
    feed_options.max_connections = 2;
    feed_start(&f, schema_of(users(1), NULL));
    c = client_new(&f);
    assert_true(hub_reserve(f.hub));
    assert_false(hub_reserve(f.hub));
    hub_unreserve(f.hub);
    client_free(c);
    assert_true(hub_reserve(f.hub));
    for (int i = 0; i < 500 && !(freed = hub_reserve(f.hub)); i++)
        usleep(10000);
    assert_true(freed);
    assert_false(hub_reserve(f.hub));
    feed_options.max_connections = 0;
    feed_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connecting),
        cmocka_unit_test(test_subscribing),
        cmocka_unit_test(test_publishing),
        cmocka_unit_test(test_slow_consumer),
        cmocka_unit_test(test_many_subscriptions),
        cmocka_unit_test(test_subscribing_while_writing),
        cmocka_unit_test(test_stopping),
        cmocka_unit_test(test_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
