#include "hub_fixture.h"

#include "access/policy.h"
#include "fake_pager.h"

#include <stdio.h>
#include <string.h>

/* What the policy lets subscribers see, whatever they ask for. */

static const char policy_text[] =
    "{\"roles\":{\"user\":{\"tables\":{"
    "\"notes\":{\"read\":[\"id\",\"user_id\",\"title\"],\"rows\":\"user_id={sub}\"},"
    "\"users\":{\"read\":[\"id\"],\"rows\":\"age>={min}\"},"
    "\"open\":{\"read\":true}},"
    "\"channels\":{\"join\":[\"tables\",\"room:*\"],\"broadcast\":[\"room:1\"]}},"
    "\"admin\":{\"sql\":true,\"tables\":{\"*\":{\"read\":true,\"write\":true}},"
    "\"channels\":{\"join\":[\"*\"],\"broadcast\":[\"*\"]}}}}";

#define ANN "{\"role\":\"user\",\"sub\":\"ann\",\"min\":3}"
#define NOTE(id, user, title, secret) ROW(INTEGER(id), TEXT(user), TEXT(title), TEXT(secret))

static struct feed f;
static struct policy *policy;
static const struct table *notes, *pay;

static int setup(void **state)
{
    struct buf err = {0};
    struct table *open = TABLE("open", "id:INTEGER:k", "v:TEXT:");
    struct table *users = TABLE("users", "id:INTEGER:k", "age:INTEGER:");
    struct table *n =
        TABLE("notes", "id:INTEGER:k", "user_id:TEXT:", "title:TEXT:", "secret:TEXT:");
    struct table *p = TABLE("pay", "id:INTEGER:k", "v:TEXT:");
    int status;

    (void)state;
    open->id = 2;
    users->id = 3;
    p->id = 4;
    policy = policy_parse(policy_text, strlen(policy_text), &err, &status);
    assert_non_null(policy);
    feed_options.policy = policy;
    feed_options.db = fake_pager_new();
    feed_start(&f, schema_of(n, p, open, users, NULL));
    feed_options.db->schema = schema_ref(f.schema);
    notes = n;
    pay = p;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    feed_stop(&f);
    policy_unref(policy);
    feed_options.policy = NULL;
    return 0;
}

static void commit(void)
{
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
}

#define HEAD(seq)                                                                                  \
    "{\"subscriptions\":[\"s1\"],\"id\":\"e1:" #seq "\",\"timestamp\":T,"                          \
    "\"type\":\"database_change\",\"channel\":\"tables\",\"seq\":" #seq                            \
    ",\"tx\":1,\"table\":\"notes\",\"event\":"
#define SEEN(id, title) "{\"id\":" #id ",\"user_id\":\"ann\",\"title\":\"" title "\"}"
#define KEY(id) "{\"id\":" #id "}"

static void make_changes(void)
{
    feed_insert(&f, notes, NOTE(1, "ann", "a", "x"));
    feed_insert(&f, notes, NOTE(2, "bob", "b", "x"));
    feed_update(&f, notes, NOTE(1, "ann", "a", "x"), NOTE(1, "ann", "a", "y"));
    feed_update(&f, notes, NOTE(1, "ann", "a", "y"), NOTE(1, "ann", "c", "z"));
    feed_update(&f, notes, NOTE(2, "bob", "b", "x"), NOTE(2, "ann", "b", "x"));
    feed_update(&f, notes, NOTE(1, "ann", "c", "z"), NOTE(5, "bob", "d", "z"));
    feed_update(&f, notes, NOTE(5, "bob", "d", "z"), NOTE(5, "bob", "e", "z"));
    feed_delete(&f, notes, NOTE(5, "bob", "e", "z"));
    feed_delete(&f, notes, NOTE(2, "ann", "b", "x"));
    feed_insert(&f, pay, ROW(INTEGER(1), TEXT("x")));
    commit();
}

/* 3 changes nothing that may be seen, 6 takes the row away, 7, 8 and 10 are not for these eyes. */
static void expect_changes(struct client *c)
{
    client_expect(c, HEAD(1) "\"INSERT\",\"key\":" KEY(1) ",\"data\":" SEEN(1, "a") "}");
    client_expect(c, HEAD(4) "\"UPDATE\",\"key\":" KEY(1) ",\"data\":" SEEN(
                         1, "c") ",\"old\":" SEEN(1, "a") "}");
    client_expect(c, HEAD(5) "\"INSERT\",\"key\":" KEY(2) ",\"data\":" SEEN(2, "b") "}");
    client_expect(
        c, HEAD(6) "\"DELETE\",\"key\":" KEY(1) ",\"data\":" KEY(1) ",\"old\":" KEY(1) "}");
    client_expect(c, HEAD(9) "\"DELETE\",\"key\":" KEY(2) ",\"data\":" SEEN(
                         2, "b") ",\"old\":" SEEN(2, "b") "}");
    client_quiet(c);
}

static void test_live(void **state)
{
    struct client *c = client_claims(&f, ANN);

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"NOTES\"}");
    make_changes();
    expect_changes(c);
    client_free(c);
}

static void test_the_past(void **state)
{
    struct client *c;

    (void)state;
    make_changes();
    c = client_claims(&f, ANN);
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"notes\",\"since\":\"earliest\"}");
    expect_changes(c);
    client_free(c);
}

static void test_together(void **state)
{
    struct client *c = client_claims(&f, ANN);
    const char *text;

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"notes\",\"batch\":true}");
    make_changes();
    text = client_read(c);
    assert_non_null(strstr(text, "\"event\":\"DELETE\",\"key\":{\"id\":1},\"data\":{\"id\":1},"));
    assert_null(strstr(text, "bob"));
    assert_null(strstr(text, "secret"));
    assert_null(strstr(text, "pay"));
    client_quiet(c);
    client_free(c);
}

static void test_events_are_those_that_are_told(void **state)
{
    struct client *c = client_claims(&f, ANN), *d = client_claims(&f, ANN);

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"notes\",\"events\":[\"DELETE\"]}");
    client_subscribe(d, "{\"type\":\"subscribe\",\"table\":\"notes\",\"events\":[\"UPDATE\"]}");
    make_changes();
    client_expect_part(c, "\"seq\":6,");
    client_expect_part(c, "\"seq\":9,");
    client_quiet(c);
    client_expect_part(d, "\"seq\":4,");
    client_quiet(d);
    client_free(c);
    client_free(d);
}

/* Each would show bob's rows, were it not for the rule. */
static void test_no_filter_widens_the_rule(void **state)
{
    static const char *const filters[] = {"[]", "\"user_id='bob'\"", "\"user_id!='ann'\"",
        "\"user_id in ('bob')\"", "\"id=2\"", "[\"user_id is not null\",\"title!='a'\"]"};
    struct client *c[sizeof(filters) / sizeof(filters[0])];
    size_t count = sizeof(filters) / sizeof(filters[0]);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        char text[256];

        snprintf(text, sizeof(text), "{\"type\":\"subscribe\",\"table\":\"notes\",\"filter\":%s}",
            filters[i]);
        c[i] = client_claims(&f, ANN);
        client_subscribe(c[i], text);
    }
    feed_insert(&f, notes, NOTE(2, "bob", "b", "x"));
    feed_update(&f, notes, NOTE(2, "bob", "b", "x"), NOTE(2, "bob", "c", "x"));
    feed_delete(&f, notes, NOTE(2, "bob", "c", "x"));
    commit();
    for (size_t i = 0; i < count; i++) {
        client_quiet(c[i]);
        client_free(c[i]);
    }
}

static void test_a_missing_claim_shows_nothing(void **state)
{
    struct client *c = client_claims(&f, "{\"role\":\"user\"}");

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"notes\"}");
    make_changes();
    client_quiet(c);
    client_free(c);
}

/* The two answers with the two names put as X. */
static void same_answer(struct client *c, const char *format, const char *a, const char *b)
{
    char text[2][2048];
    const char *names[] = {a, b};

    for (int i = 0; i < 2; i++) {
        char request[512], *at;

        snprintf(request, sizeof(request), format, names[i]);
        client_send(c, request);
        snprintf(text[i], sizeof(text[i]), "%s", client_read(c));
        assert_non_null(strstr(text[i], "\"error\""));
        while ((at = strstr(text[i], names[i])) != NULL) {
            *at = 'X';
            memmove(at + 1, at + strlen(names[i]), strlen(at + strlen(names[i])) + 1);
        }
    }
    assert_string_equal(text[0], text[1]);
}

static void test_what_is_denied_is_not_there(void **state)
{
    struct client *c = client_claims(&f, ANN);

    (void)state;
    same_answer(c, "{\"type\":\"subscribe\",\"table\":\"%s\"}", "pay", "nosuch");
    same_answer(c, "{\"type\":\"subscribe\",\"table\":\"%s\",\"filter\":\"v=1\"}", "pay", "nosuch");
    same_answer(c, "{\"type\":\"subscribe\",\"table\":\"%s\",\"snapshot\":true}", "pay", "nosuch");
    same_answer(c, "{\"type\":\"subscribe\",\"table\":\"%s\",\"since\":0}", "pay", "nosuch");
    same_answer(c, "{\"type\":\"subscribe\",\"table\":\"notes\",\"filter\":\"%s='x'\"}", "secret",
        "nosuch");
    same_answer(c, "{\"type\":\"subscribe\",\"table\":\"notes\",\"columns\":[\"id\",\"%s\"]}",
        "secret", "nosuch");
    client_quiet(c);
    client_free(c);
}

static void test_who_has_no_role(void **state)
{
    static const char *const claims[] = {"{\"sub\":\"ann\"}", "{\"sub\":\"ann\",\"role\":\"boss\"}",
        "{\"sub\":\"ann\",\"role\":[\"admin\"]}"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct client *c = client_claims(&f, claims[i]);

        same_answer(c, "{\"type\":\"subscribe\",\"table\":\"%s\"}", "open", "nosuch");
        client_send(c, "{\"type\":\"subscribe\",\"table\":\"*\"}");
        client_expect_part(c, "\"FORBIDDEN\"");
        client_send(c, "{\"type\":\"subscribe\",\"channel\":\"room:1\"}");
        client_expect_part(c, "\"FORBIDDEN\"");
        client_send(c, "{\"type\":\"request\",\"requestId\":1,\"payload\":{\"action\":\"sql\","
                       "\"sql\":\"select 1\"}}");
        client_expect_part(c, "\"FORBIDDEN\"");
        client_free(c);
    }
}

static void test_snapshot(void **state)
{
    struct client *c = client_claims(&f, ANN);

    (void)state;
    feed_options.db->rows = 4;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"snapshot\":true}");
    client_expect_part(c, "\"data\":{\"rows\":[{\"key\":{\"id\":3},\"data\":{\"id\":3}},"
                          "{\"key\":{\"id\":4},\"data\":{\"id\":4}}]},\"last\":true}");
    client_quiet(c);
    client_free(c);
}

static void test_tables_themselves(void **state)
{
    struct client *c = client_claims(&f, ANN), *d = client_claims(&f, "{\"role\":\"admin\"}");
    struct table *open = TABLE("open", "id:INTEGER:k", "v:TEXT:", "w:TEXT:");
    struct schema *s = schema_of(table_ref(notes), open, NULL);

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"channel\":\"tables\"}");
    client_subscribe(d, "{\"type\":\"subscribe\",\"channel\":\"tables\"}");
    open->id = 2;
    feed_ddl(&f, CHANGE_TABLE_ALTERED, open, schema_find(f.schema, "open", 4));
    feed_ddl(&f, CHANGE_TABLE_DROPPED, pay, NULL);
    feed_commit(&f, 0, s);
    feed_publish(&f);
    client_expect_part(c, "\"table:altered\"");
    client_quiet(c);
    client_expect_part(d, "\"table:altered\"");
    client_expect_part(d, "\"table:dropped\"");
    client_quiet(d);
    client_free(c);
    client_free(d);
}

static void test_channels(void **state)
{
    struct client *c = client_claims(&f, ANN), *d = client_claims(&f, ANN);

    (void)state;
    client_send(c, "{\"type\":\"subscribe\",\"channel\":\"queries\"}");
    client_expect_part(c, "\"FORBIDDEN\",\"message\":\"your role may not join the channel queries");
    client_send(c, "{\"type\":\"subscribe\",\"channel\":\"notifications\"}");
    client_expect_part(c, "\"FORBIDDEN\"");
    client_subscribe(c, "{\"type\":\"subscribe\",\"channel\":\"room:1\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"channel\":\"room:2\"}");
    client_send(d, "{\"type\":\"broadcast\",\"channel\":\"room:2\",\"data\":1}");
    client_expect_part(d, "\"FORBIDDEN\",\"message\":\"your role may not broadcast to the channel "
                          "room:2");
    client_send(d, "{\"type\":\"broadcast\",\"channel\":\"notifications\",\"data\":1}");
    client_expect_part(d, "\"FORBIDDEN\"");
    client_send(d, "{\"type\":\"user:cursor\",\"data\":{\"table\":\"open\",\"row\":1}}");
    client_expect_part(d, "\"FORBIDDEN\"");
    client_send(d, "{\"type\":\"broadcast\",\"channel\":\"room:1\",\"data\":1}");
    client_expect_part(d, "\"delivered\":1");
    client_expect_part(c, "\"channel\":\"room:1\"");
    client_quiet(c);
    client_free(c);
    client_free(d);
}

static void test_who_may_everything(void **state)
{
    struct client *c = client_claims(&f, "{\"role\":\"admin\"}");

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"*\"}");
    feed_insert(&f, pay, ROW(INTEGER(1), TEXT("x")));
    feed_update(&f, notes, NOTE(1, "ann", "a", "x"), NOTE(1, "ann", "a", "y"));
    commit();
    client_expect_part(c, "\"table\":\"pay\",\"event\":\"INSERT\"");
    client_expect_part(c, "\"secret\":\"y\"}");
    client_quiet(c);
    client_free(c);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_live),
        TEST(test_the_past),
        TEST(test_together),
        TEST(test_events_are_those_that_are_told),
        TEST(test_no_filter_widens_the_rule),
        TEST(test_a_missing_claim_shows_nothing),
        TEST(test_what_is_denied_is_not_there),
        TEST(test_who_has_no_role),
        TEST(test_snapshot),
        TEST(test_tables_themselves),
        TEST(test_channels),
        TEST(test_who_may_everything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
