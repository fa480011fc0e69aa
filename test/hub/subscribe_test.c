#include "hub_fixture.h"

#include "net/ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What subscribers of one unchanging schema get. */

static struct table *users(void)
{
    return TABLE("users", "id:INTEGER:k", "name:TEXT:", "age:INTEGER:");
}

static struct table *kind_of_table(const char *name, uint64_t id, enum table_kind kind)
{
    struct table *t = TABLE(name, "a:INTEGER:k");

    t->id = id;
    t->kind = kind;
    return t;
}

#define ADA ROW(INTEGER(1), TEXT("Ada"), INTEGER(36))
#define ADA_OLDER ROW(INTEGER(1), TEXT("Ada"), INTEGER(37))
#define BOB ROW(INTEGER(2), TEXT("Bob"), INTEGER(5))
#define BOB_GROWN ROW(INTEGER(2), TEXT("Bob"), INTEGER(18))

#define HEAD(seq)                                                                                  \
    "\"id\":\"e1:" #seq "\",\"timestamp\":T,\"type\":\"database_change\","                         \
    "\"channel\":\"tables\",\"seq\":" #seq ",\"tx\":"
#define S1 "{\"subscriptions\":[\"s1\"],"

static int setup(void **state)
{
    struct feed *f = calloc(1, sizeof(*f));
    struct table *view = kind_of_table("grown_ups", 11, TABLE_VIEW);
    struct table *search = kind_of_table("search", 12, TABLE_VIRTUAL);
    struct table *internal = kind_of_table("sqlite_sequence", 13, TABLE_PLAIN);

    internal->internal = true;
    feed_options.max_subscriptions = 100;
    feed_start(f,
        schema_of(users(), kind_of_table("Notes", 2, TABLE_PLAIN), view, search, internal, NULL));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    feed_stop(*state);
    free(*state);
    return 0;
}

static const struct table *table(struct feed *f, const char *name)
{
    return schema_find(f->schema, name, strlen(name));
}

static void test_ack(void **state)
{
    struct client *c = client_raw(*state);

    client_expect(c, "{\"id\":\"c\",\"timestamp\":T,\"type\":\"connection:ack\",\"data\":{"
                     "\"connectionId\":\"c\","
                     "\"userId\":\"ann\",\"version\":\"1.2.3\",\"epoch\":\"e1\",\"seq\":0,"
                     "\"heartbeatInterval\":60000,\"maxMessageSize\":1048576,\"channels\":["
                     "\"notifications\"]}}");
    assert_true(c->id > 0);
    client_free(c);
}

static void test_every_event(void **state)
{
    struct feed *f = *state;
    const struct table *t = table(f, "users");
    struct client *c = client_new(f);

    client_send(c, "{\"type\":\"subscribe\",\"requestId\":7,\"table\":\"USERS\"}");
    client_expect(c, "{\"id\":\"c\",\"timestamp\":T,\"type\":\"subscribed\",\"requestId\":7,"
                     "\"data\":{\"subscription\":\"s1\",\"table\":\"users\",\"seq\":0}}");
    feed_insert(f, t, ADA);
    feed_commit(f, 0, NULL);
    feed_update(f, t, ADA, ROW(INTEGER(9), TEXT("Ada"), INTEGER(36)));
    feed_delete(f, t, BOB);
    feed_commit(f, 0, NULL);
    feed_publish(f);
    client_expect(c, S1 HEAD(1) "1,\"table\":\"users\",\"event\":\"INSERT\",\"key\":{\"id\":1},"
                                "\"data\":{\"id\":1,\"name\":\"Ada\",\"age\":36}}");
    client_expect(c, S1 HEAD(2) "2,\"table\":\"users\",\"event\":\"UPDATE\",\"key\":{\"id\":9},"
                                "\"oldKey\":{\"id\":1},"
                                "\"data\":{\"id\":9,\"name\":\"Ada\",\"age\":36},"
                                "\"old\":{\"id\":1,\"name\":\"Ada\",\"age\":36}}");
    client_expect(c, S1 HEAD(3) "2,\"table\":\"users\",\"event\":\"DELETE\",\"key\":{\"id\":2},"
                                "\"data\":{\"id\":2,\"name\":\"Bob\",\"age\":5},"
                                "\"old\":{\"id\":2,\"name\":\"Bob\",\"age\":5}}");
    client_quiet(c);
    client_send(c, "{\"type\":\"subscribe\",\"table\":\"notes\"}");
    client_expect_part(c, "\"data\":{\"subscription\":\"s2\",\"table\":\"Notes\",\"seq\":3}}");
    client_free(c);
}

static void test_transitions(void **state)
{
    struct feed *f = *state;
    const struct table *t = table(f, "users");
    struct client *c = client_new(f);

    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age >= 18\"}");
    feed_insert(f, t, BOB);
    feed_update(f, t, BOB, BOB_GROWN);
    feed_update(f, t, ADA, ADA_OLDER);
    feed_update(f, t, BOB_GROWN, BOB);
    feed_delete(f, t, BOB);
    feed_delete(f, t, ADA);
    feed_commit(f, 0, NULL);
    feed_publish(f);
    client_expect_part(c, S1 "\"transition\":\"enter\"," HEAD(2));
    client_expect_part(c, S1 HEAD(3));
    client_expect_part(c, S1 "\"transition\":\"leave\"," HEAD(4));
    client_expect_part(c, S1 HEAD(6));
    client_quiet(c);
    client_free(c);
}

static void test_several_subscriptions_share_a_message(void **state)
{
    struct feed *f = *state;
    const struct table *t = table(f, "users");
    struct client *c = client_new(f);

    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"*\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":[\"age>=18\"]}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"id in (2,3)\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age>6\"}");
    feed_update(f, t, BOB, BOB_GROWN);
    feed_commit(f, 0, NULL);
    feed_publish(f);
    client_expect_part(c, "{\"subscriptions\":[\"s1\",\"s2\",\"s4\"]," HEAD(1));
    client_expect_part(c, "{\"subscriptions\":[\"s3\",\"s5\"],\"transition\":\"enter\"," HEAD(1));
    client_quiet(c);
    client_free(c);
}

static void test_columns(void **state)
{
    struct feed *f = *state;
    const struct table *t = table(f, "users");
    struct client *c = client_new(f);

    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"columns\":[\"AGE\"]}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"columns\":\"age\"}");
    client_subscribe(
        c, "{\"type\":\"subscribe\",\"table\":\"users\",\"columns\":[\"age\",\"name\",\"id\"]}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    feed_update(f, t, BOB, BOB_GROWN);
    feed_commit(f, 0, NULL);
    feed_publish(f);
    client_expect_part(c, "{\"subscriptions\":[\"s3\",\"s4\"]," HEAD(1));
    client_expect(c, "{\"subscriptions\":[\"s1\",\"s2\"]," HEAD(
                         1) "1,\"table\":\"users\","
                            "\"event\":\"UPDATE\",\"key\":{\"id\":2},\"data\":{\"age\":18},"
                            "\"old\":{\"age\":5}}");
    client_quiet(c);
    client_send(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"columns\":[\"agee\"]}");
    client_expect_part(
        c, "\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"no such column: users.agee\"}");
    client_free(c);
}

static void test_events(void **state)
{
    struct feed *f = *state;
    const struct table *t = table(f, "users");
    struct client *c = client_new(f);

    client_subscribe(
        c, "{\"type\":\"subscribe\",\"table\":\"users\",\"events\":\"insert, Delete\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"*\",\"events\":[\"UPDATE\"]}");
    feed_insert(f, t, BOB);
    feed_update(f, t, BOB, BOB_GROWN);
    feed_delete(f, t, BOB_GROWN);
    feed_commit(f, 0, NULL);
    feed_publish(f);
    client_expect_part(c, S1 HEAD(1));
    client_expect_part(c, "{\"subscriptions\":[\"s2\"]," HEAD(2));
    client_expect_part(c, S1 HEAD(3));
    client_quiet(c);
    client_free(c);
}

static void test_batch(void **state)
{
    struct feed *f = *state;
    const struct table *t = table(f, "users");
    struct client *c = client_new(f);

    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age>=18\","
                        "\"columns\":[\"age\"],\"batch\":true}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age=18\"}");
    feed_insert(f, t, ADA);
    feed_insert(f, t, BOB);
    feed_update(f, t, BOB, BOB_GROWN);
    feed_commit(f, 0, NULL);
    feed_insert(f, t, BOB);
    feed_commit(f, 0, NULL);
    feed_insert(f, t, ADA);
    feed_commit(f, 0, NULL);
    feed_publish(f);
    client_expect_part(c, "{\"subscriptions\":[\"s2\"],\"transition\":\"enter\"," HEAD(3));
    client_expect(c,
        "{\"id\":\"e1:3\",\"timestamp\":T,\"type\":\"changes\",\"channel\":\"tables\",\"seq\":3,"
        "\"tx\":1,\"table\":\"users\",\"changes\":[" S1 HEAD(
            1) "1,\"table\":\"users\",\"event\":\"INSERT\",\"key\":{\"id\":1},\"data\":{\"age\":36}"
               "}," S1
               "\"transition\":\"enter\"," HEAD(3) "1,\"table\":\"users\",\"event\":\"UPDATE\","
                                                   "\"key\":{\"id\":2},\"data\":{\"age\":18},"
                                                   "\"old\":{\"age\":5}}]}");
    client_expect_part(c, "\"type\":\"changes\",\"channel\":\"tables\",\"seq\":5,\"tx\":3,");
    client_quiet(c);
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"notes\",\"batch\":true}");
    feed_insert(f, t, ADA);
    feed_insert(f, table(f, "notes"), ROW(INTEGER(4)));
    feed_commit(f, 0, NULL);
    feed_publish(f);
    client_expect_part(c, "\"seq\":7,\"tx\":4,\"changes\":[" S1);
    client_quiet(c);
    client_free(c);
}

/* A large transaction comes in pieces that say so. */
static void test_large_batch(void **state)
{
    enum { ROWS = 3000 };
    struct feed *f = *state;
    const struct table *t = table(f, "users");
    struct client *c = client_new(f);
    unsigned long seq = 0, messages = 0;
    const char *p;
    bool more = true;

    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"batch\":true}");
    for (int i = 0; i < ROWS; i++)
        feed_insert(f, t, ADA);
    feed_commit(f, 0, NULL);
    feed_publish(f);
    while (more) {
        assert_non_null(client_read(c));
        messages++;
        more = strstr(c->text, "\"more\":true") != NULL;
        for (p = strstr(c->text, "\"changes\":["); (p = strstr(p, "\"id\":\"e1:")); p++)
            assert_int_equal(strtoul(p + 9, NULL, 10), ++seq);
    }
    assert_int_equal(seq, ROWS);
    assert_true(messages > 1);
    client_quiet(c);
    client_free(c);
}

static void test_every_table(void **state)
{
    struct feed *f = *state;
    struct client *c = client_new(f);

    client_send(c, "{\"type\":\"subscribe\",\"table\":\"*\"}");
    client_expect_part(c, "\"data\":{\"subscription\":\"s1\",\"table\":\"*\",\"seq\":0}}");
    feed_insert(f, table(f, "users"), BOB);
    feed_insert(f, table(f, "notes"), ROW(INTEGER(4)));
    feed_commit(f, 0, NULL);
    feed_publish(f);
    client_expect_part(c, "\"table\":\"users\"");
    client_expect_part(c, "\"table\":\"Notes\"");
    client_send(c, "{\"type\":\"subscribe\",\"table\":\"*\",\"filter\":\"a=1\"}");
    client_expect_part(c, "\"code\":\"INVALID_FILTER\"");
    client_send(c, "{\"type\":\"subscribe\",\"table\":\"*\",\"columns\":[\"a\"]}");
    client_expect_part(c, "\"code\":\"INVALID_FORMAT\"");
    client_send(c, "{\"type\":\"unsubscribe\",\"table\":\"*\"}");
    client_expect(c, "{\"id\":\"c\",\"timestamp\":T,\"type\":\"unsubscribed\","
                     "\"data\":{\"table\":\"*\",\"subscriptions\":[\"s1\"]}}");
    client_free(c);
}

static void test_self(void **state)
{
    struct feed *f = *state;
    const struct table *t = table(f, "users");
    struct client *a = client_new(f), *b = client_new(f);

    client_subscribe(a, "{\"type\":\"subscribe\",\"table\":\"users\",\"self\":false}");
    client_subscribe(b, "{\"type\":\"subscribe\",\"table\":\"users\",\"self\":false}");
    feed_insert(f, t, ADA);
    feed_commit(f, a->id, NULL);
    feed_insert(f, t, BOB);
    feed_commit(f, b->id, NULL);
    feed_publish(f);
    client_expect_part(a, HEAD(2));
    client_expect_part(b, HEAD(1));
    client_quiet(a);
    client_quiet(b);
    client_free(a);
    client_free(b);
}

static void test_unsubscribe(void **state)
{
    struct feed *f = *state;
    const struct table *t = table(f, "users");
    struct client *c = client_new(f);

    for (int i = 0; i < 4; i++)
        client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"notes\"}");
    client_send(c, "{\"type\":\"unsubscribe\",\"id\":\"x\",\"data\":{\"subscription\":\"s2\"}}");
    client_expect(c, "{\"id\":\"c\",\"timestamp\":T,\"type\":\"unsubscribed\",\"requestId\":\"x\","
                     "\"data\":{\"subscription\":\"s2\"}}");
    feed_insert(f, t, ADA);
    feed_commit(f, 0, NULL);
    feed_publish(f);
    client_expect_part(c, "{\"subscriptions\":[\"s1\",\"s3\",\"s4\"],");
    client_send(c, "{\"type\":\"unsubscribe\",\"table\":\"Users\"}");
    client_expect_part(c, "{\"table\":\"Users\",\"subscriptions\":[\"s1\",\"s3\",\"s4\"]}");
    feed_insert(f, t, ADA);
    feed_commit(f, 0, NULL);
    feed_publish(f);
    client_quiet(c);
    client_send(c, "{\"type\":\"unsubscribe\",\"table\":\"users\"}");
    client_expect_part(c, "\"message\":\"this connection has no subscription to users\"");
    client_send(c, "{\"type\":\"unsubscribe\",\"subscription\":\"s1\"}");
    client_expect_part(c, "\"message\":\"this connection has no subscription s1\"");
    client_send(c, "{\"type\":\"unsubscribe\",\"subscription\":\"s99999999999\"}");
    client_expect_part(c, "\"code\":\"NOT_FOUND\"");
    client_send(c, "{\"type\":\"unsubscribe\"}");
    client_expect_part(c, "\"data\":{\"subscriptions\":[\"s5\"]}}");
    client_send(c, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    client_expect_part(c, "\"subscription\":\"s6\"");
    client_free(c);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *request, *answer;
    } cases[] = {
        {"{\"type\":\"subscribe\",\"table\":\"userz\",\"requestId\":\"r\"}",
            "{\"id\":\"c\",\"timestamp\":T,\"type\":\"error\",\"requestId\":\"r\","
            "\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"no such table: userz\"},"
            "\"data\":{\"code\":\"NOT_FOUND\",\"message\":\"no such table: userz\"}}"},
        {"{\"type\":\"subscribe\",\"table\":\"sqlite_sequence\"}",
            "no such table: sqlite_sequence"},
        {"{\"type\":\"subscribe\",\"table\":\"\"}", "no such table: "},
        {"{\"type\":\"subscribe\",\"table\":\"grown_ups\"}", "grown_ups is a view"},
        {"{\"type\":\"subscribe\",\"table\":\"search\"}", "search is a virtual table"},
        {"{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"agee=1\"}", "INVALID_FILTER"},
        {"{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"\"}", "INVALID_FILTER"},
        {"{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":[\"age=1\",\"<>\"]}",
            "INVALID_FILTER"},
        {"{\"type\":\"subscribe\",\"channel\":\"a b\"}", "INVALID_FORMAT"},
        {"{\"type\":\"subscribe\",\"channel\":\"\"}", "INVALID_FORMAT"},
        {"{\"type\":\"unsubscribe\",\"channel\":\"room\"}", "NOT_FOUND"},
        {"{\"type\":\"query:begin\"}", "UNKNOWN_TYPE"},
        {"{", "INVALID_FORMAT"},
        {"", "INVALID_FORMAT"},
    };
    struct client *c = client_new(*state);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        client_send(c, cases[i].request);
        client_expect_part(c, cases[i].answer);
    }
    client_send_frame(c, WS_BINARY, "{}", 2);
    client_expect_part(c, "binary messages are not understood");
    client_quiet(c);
    client_free(c);
}

static void test_channels(void **state)
{
    struct feed *f = *state;
    struct client *c = client_new(f);
    char request[300];

    client_send(c, "{\"type\":\"subscribe\",\"channel\":\"tables\"}");
    client_expect(c, "{\"id\":\"c\",\"timestamp\":T,\"type\":\"subscribed\",\"channel\":\"tables\","
                     "\"data\":{\"channel\":\"tables\",\"seq\":0}}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"channel\":\"tables\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"channel\":\"notifications\"}");
    client_send(c, "{\"type\":\"unsubscribe\",\"channel\":\"notifications\"}");
    client_expect_part(c, "\"channel\":\"notifications\"");
    client_send(c, "{\"type\":\"unsubscribe\",\"channel\":\"notifications\"}");
    client_expect_part(c, "NOT_FOUND");
    snprintf(request, sizeof(request), "{\"type\":\"subscribe\",\"channel\":\"%0129d\"}", 0);
    client_send(c, request);
    client_expect_part(c, "INVALID_FORMAT");
    client_send(c, "{\"type\":\"unsubscribe\",\"channel\":\"tables\"}");
    client_expect(c, "{\"id\":\"c\",\"timestamp\":T,\"type\":\"unsubscribed\","
                     "\"channel\":\"tables\",\"data\":{\"channel\":\"tables\"}}");
    client_send(c, "{\"type\":\"unsubscribe\",\"channel\":\"tables\"}");
    client_expect_part(c, "NOT_FOUND");
    client_free(c);
}

static void test_limits(void **state)
{
    struct client *c = client_new(*state);
    char *request = malloc(200000), *p;
    char channel[100];

    for (int i = 0; i < 99; i++)
        client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"channel\":\"room:1\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"channel\":\"room:1\"}");
    snprintf(channel, sizeof(channel), "{\"type\":\"subscribe\",\"channel\":\"room:2\"}");
    client_send(c, channel);
    client_expect_part(c, "\"code\":\"LIMIT_EXCEEDED\"");
    client_send(c, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    client_expect_part(c, "\"code\":\"LIMIT_EXCEEDED\"");
    client_send(c, "{\"type\":\"unsubscribe\",\"subscription\":\"s50\"}");
    client_expect_part(c, "unsubscribed");
    p = request + sprintf(request, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":[");
    for (int i = 0; i < 33; i++)
        p += sprintf(p, "\"age=1\",");
    sprintf(p - 1, "]}");
    client_send(c, request);
    client_expect_part(c, "\"code\":\"LIMIT_EXCEEDED\"");
    p = request + sprintf(request, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age=");
    memset(p, '1', 70000);
    strcpy(p + 70000, "\"}");
    client_send(c, request);
    client_expect_part(c, "\"code\":\"LIMIT_EXCEEDED\"");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    free(request);
    client_free(c);
}

/* Many filters of the greatest length: an error, not the server's memory. */
static void test_text_budget(void **state)
{
    struct client *c = client_new(*state);
    char *request = malloc(70000);
    size_t head;
    int accepted = 0;

    head =
        (size_t)sprintf(request, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"name=");
    memset(request + head, 'x', 65000);
    strcpy(request + head + 65000, "\"}");
    for (;;) {
        client_send(c, request);
        assert_non_null(client_read(c));
        if (!strstr(c->text, "\"subscribed\""))
            break;
        accepted++;
    }
    assert_non_null(strstr(c->text, "LIMIT_EXCEEDED"));
    assert_int_equal(accepted, (4 << 20) / (65000 + 5 + 4));
    client_send(c, "{\"type\":\"unsubscribe\",\"subscription\":\"s1\"}");
    client_expect_part(c, "unsubscribed");
    client_subscribe(c, request);
    free(request);
    client_free(c);
}

static void test_going_away_mid_stream(void **state)
{
    struct feed *f = *state;
    const struct table *t = table(f, "users");
    struct client *stays = client_new(f);
    struct hub_stats stats;

    client_subscribe(stays, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    for (int i = 0; i < 20; i++) {
        struct client *goes = client_new(f);

        client_subscribe(goes, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"id=1\"}");
        client_subscribe(goes, "{\"type\":\"subscribe\",\"channel\":\"room\"}");
        client_free(goes);
        feed_insert(f, t, ADA);
        feed_commit(f, 0, NULL);
        feed_publish(f);
        client_expect_part(stays, "database_change");
    }
    client_quiet(stays);
    for (int i = 0; i < 200; i++) {
        hub_stats(f->hub, &stats);
        if (stats.subscriptions == 1 && stats.connections == 1)
            break;
        usleep(10000);
    }
    assert_int_equal(stats.subscriptions, 1);
    assert_int_equal(stats.connections, 1);
    client_free(stays);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ack, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_event, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transitions, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_several_subscriptions_share_a_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_columns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_self, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unsubscribe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_channels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_budget, setup, teardown),
        cmocka_unit_test_setup_teardown(test_going_away_mid_stream, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
