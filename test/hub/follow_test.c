#include "hub_fixture.h"

#include <stdlib.h>

/* What happens to subscriptions when tables come, go and change. */

static struct table *table(const char *name, uint64_t id, const char *second)
{
    struct table *t = TABLE(name, "id:INTEGER:k", second);

    t->id = id;
    return t;
}

#define ONE ROW(INTEGER(1), INTEGER(10))
#define TWO ROW(INTEGER(2), INTEGER(20))

static struct client *c;
static struct feed f;
static struct table *users;

static int setup(void **state)
{
    (void)state;
    users = table("users", 1, "age:INTEGER:");
    feed_start(&f, schema_of(users, NULL));
    users = table_ref(users);
    c = client_new(&f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    client_free(c);
    table_unref(users);
    feed_stop(&f);
    return 0;
}

static void insert(const struct table *t)
{
    feed_insert(&f, t, ONE);
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
}

static void test_ddl_goes_to_channel_tables(void **state)
{
    struct table *notes = table("notes", 2, "text:TEXT:");

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"channel\":\"tables\"}");
    feed_ddl(&f, CHANGE_TABLE_CREATED, notes, NULL);
    feed_insert(&f, notes, ONE);
    feed_commit(&f, 0, schema_of(table_ref(users), notes, NULL));
    feed_publish(&f);
    client_expect(c,
        "{\"id\":\"e1:1\",\"timestamp\":T,\"type\":\"table:created\",\"channel\":\"tables\","
        "\"seq\":1,\"tx\":1,\"data\":{\"tableName\":\"notes\",\"userId\":null,\"timestamp\":T,"
        "\"changes\":{\"columns\":["
        "{\"name\":\"id\",\"type\":\"INTEGER\",\"notNull\":false,\"default\":null,"
        "\"primaryKey\":true,\"generated\":null},"
        "{\"name\":\"text\",\"type\":\"TEXT\",\"notNull\":false,\"default\":null,"
        "\"primaryKey\":false,\"generated\":null}]}}}");
    client_quiet(c);
    client_send(c, "{\"type\":\"subscribe\",\"table\":\"notes\"}");
    client_expect_part(c, "\"table\":\"notes\",\"seq\":2}}");
    feed_ddl(&f, CHANGE_TABLE_DROPPED, users, NULL);
    feed_commit(&f, c->id, schema_of(table_ref(notes), NULL));
    feed_publish(&f);
    client_expect_part(c, "table:dropped");
    client_subscribe(c, "{\"type\":\"subscribe\",\"channel\":\"tables\",\"self\":false}");
    feed_ddl(&f, CHANGE_TABLE_DROPPED, notes, NULL);
    feed_commit(&f, c->id, schema_of(NULL));
    feed_publish(&f);
    client_quiet(c);
}

static void test_added_column(void **state)
{
    struct table *wider = TABLE("users", "name:TEXT:", "id:INTEGER:k", "age:INTEGER:");

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age=10\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"columns\":[\"age\"]}");
    client_subscribe(
        c, "{\"type\":\"subscribe\",\"table\":\"users\",\"columns\":[\"id\",\"age\"]}");
    feed_insert(&f, users, ONE);
    feed_commit(&f, 0, NULL);
    feed_ddl(&f, CHANGE_TABLE_ALTERED, wider, users);
    feed_insert(&f, wider, ROW(TEXT("x"), INTEGER(1), INTEGER(10)));
    feed_commit(&f, 0, schema_of(wider, NULL));
    feed_publish(&f);
    client_expect_part(c, "[\"s1\",\"s3\"],\"id\":\"e1:1\"");
    client_expect_part(c, "[\"s2\"],\"id\":\"e1:1\"");
    client_expect_part(c, "{\"subscriptions\":[\"s1\",\"s2\",\"s3\"],\"id\":\"e1:2\"");
    client_expect_part(c, "[\"s1\"],\"id\":\"e1:3\"");
    client_expect_part(c, "[\"s2\"],\"id\":\"e1:3\"");
    client_expect_part(c, "[\"s3\"],\"id\":\"e1:3\"");
    client_quiet(c);
}

/* A new definition may reach the loop with the rows alone. */
static void test_definition_comes_with_the_row(void **state)
{
    struct table *wider = TABLE("users", "name:TEXT:", "id:INTEGER:k", "age:INTEGER:");

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age=10\"}");
    feed_insert(&f, wider, ROW(TEXT("x"), INTEGER(1), INTEGER(10)));
    feed_insert(&f, users, ONE);
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    client_expect_part(c, "\"id\":\"e1:1\"");
    client_expect_part(c, "\"id\":\"e1:2\"");
    client_quiet(c);
    table_unref(wider);
}

static void test_lost_column_ends_the_subscription(void **state)
{
    struct table *narrow = table("users", 1, "height:INTEGER:");

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age=10\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"columns\":[\"age\"]}");
    feed_ddl(&f, CHANGE_TABLE_ALTERED, narrow, users);
    feed_insert(&f, narrow, ONE);
    feed_commit(&f, 0, schema_of(narrow, NULL));
    feed_publish(&f);
    client_expect_part(c, "\"data\":{\"code\":\"INVALID_FILTER\",\"message\":\"subscription s1 has "
                          "ended because table users was changed: ");
    assert_non_null(strstr(c->text, "\"subscription\":\"s1\"}}"));
    assert_non_null(strstr(c->text, "age"));
    client_expect_part(c, "\"subscription\":\"s3\"");
    client_expect_part(c, "{\"subscriptions\":[\"s2\"],\"id\":\"e1:1\"");
    client_expect_part(c, "{\"subscriptions\":[\"s2\"],\"id\":\"e1:2\"");
    client_send(c, "{\"type\":\"unsubscribe\",\"subscription\":\"s1\"}");
    client_expect_part(c, "NOT_FOUND");
    client_send(c, "{\"type\":\"unsubscribe\"}");
    client_expect_part(c, "\"subscriptions\":[\"s2\"]");
}

static void test_last_subscription_ends(void **state)
{
    struct table *narrow = table("users", 1, "height:INTEGER:");

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age=10\"}");
    feed_ddl(&f, CHANGE_TABLE_ALTERED, narrow, users);
    feed_insert(&f, narrow, ONE);
    feed_commit(&f, 0, schema_of(narrow, NULL));
    feed_publish(&f);
    client_expect_part(c, "INVALID_FILTER");
    client_quiet(c);
}

static void test_rename_away_and_back(void **state)
{
    struct table *people = table("people", 1, "age:INTEGER:"), *back;

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age=10\"}");
    feed_ddl(&f, CHANGE_TABLE_ALTERED, people, users);
    feed_insert(&f, people, ONE);
    feed_commit(&f, 0, schema_of(people, NULL));
    feed_publish(&f);
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:1\"");
    assert_non_null(strstr(c->text, "\"tableName\":\"people\""));
    assert_non_null(strstr(c->text, "\"renamedFrom\":\"users\""));
    client_quiet(c);
    client_send(c, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    client_expect_part(c, "no such table: users");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"people\"}");
    insert(people);
    client_expect_part(c, "[\"s2\"],\"id\":\"e1:3\"");
    back = table("Users", 1, "age:INTEGER:");
    feed_ddl(&f, CHANGE_TABLE_ALTERED, back, people);
    feed_insert(&f, back, ONE);
    feed_commit(&f, 0, schema_of(back, NULL));
    feed_publish(&f);
    client_expect_part(c, "[\"s1\",\"s2\"],\"id\":\"e1:4\"");
    client_expect_part(c, "[\"s1\"],\"id\":\"e1:5\"");
    client_quiet(c);
}

static void test_two_tables_exchange_their_names(void **state)
{
    struct table *people = table("people", 2, "age:INTEGER:");
    struct table *new_people = table("people", 1, "age:INTEGER:");
    struct table *new_users = table("users", 2, "age:INTEGER:");

    (void)state;
    feed_ddl(&f, CHANGE_TABLE_CREATED, people, NULL);
    feed_commit(&f, 0, schema_of(people, table_ref(users), NULL));
    feed_publish(&f);
    client_quiet(c);
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"people\"}");
    feed_ddl(&f, CHANGE_TABLE_ALTERED, new_people, users);
    feed_ddl(&f, CHANGE_TABLE_ALTERED, new_users, people);
    feed_insert(&f, new_users, ONE);
    feed_insert(&f, new_people, TWO);
    feed_commit(&f, 0, schema_of(new_people, new_users, NULL));
    feed_publish(&f);
    client_expect_part(c, "[\"s1\",\"s2\"],\"id\":\"e1:2\"");
    client_expect_part(c, "[\"s1\",\"s2\"],\"id\":\"e1:3\"");
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:4\"");
    client_expect_part(c, "{\"subscriptions\":[\"s2\"],\"id\":\"e1:5\"");
    client_quiet(c);
}

static void test_drop_reports_the_last_rows(void **state)
{
    struct table *again = table("users", 7, "age:INTEGER:");

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age=10\"}");
    feed_delete(&f, users, ONE);
    feed_ddl(&f, CHANGE_TABLE_DROPPED, users, NULL);
    feed_commit(&f, 0, schema_of(NULL));
    feed_publish(&f);
    client_expect_part(c, "\"event\":\"DELETE\"");
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:2\"");
    assert_non_null(strstr(c->text, "\"type\":\"table:dropped\""));
    feed_ddl(&f, CHANGE_TABLE_CREATED, again, NULL);
    feed_insert(&f, again, ONE);
    feed_commit(&f, 0, schema_of(again, NULL));
    feed_publish(&f);
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:3\"");
    assert_non_null(strstr(c->text, "\"type\":\"table:created\""));
    client_expect_part(c, "\"event\":\"INSERT\"");
    client_quiet(c);
}

/* As ALTER TABLE is done by hand: both tables' rows belong to "users", in any order. */
static void test_replaced_in_one_transaction(void **state)
{
    struct table *successor = TABLE("users", "age:INTEGER:", "id:INTEGER:k");

    (void)state;
    successor->id = 7;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age=10\"}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"*\"}");
    feed_ddl(&f, CHANGE_TABLE_CREATED, successor, NULL);
    feed_insert(&f, successor, ROW(INTEGER(10), INTEGER(1)));
    feed_delete(&f, users, ONE);
    feed_insert(&f, successor, ROW(INTEGER(11), INTEGER(2)));
    feed_delete(&f, users, TWO);
    feed_ddl(&f, CHANGE_TABLE_DROPPED, users, NULL);
    feed_commit(&f, 0, schema_of(successor, NULL));
    feed_publish(&f);
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:1\"");
    client_expect_part(c, "[\"s1\",\"s2\"],\"id\":\"e1:2\"");
    client_expect_part(c, "[\"s1\",\"s2\"],\"id\":\"e1:3\"");
    client_expect_part(c, "[\"s2\"],\"id\":\"e1:4\"");
    client_expect_part(c, "[\"s2\"],\"id\":\"e1:5\"");
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:6\"");
    client_quiet(c);
    feed_insert(&f, successor, ROW(INTEGER(10), INTEGER(3)));
    feed_commit(&f, 0, NULL);
    feed_publish(&f);
    client_expect_part(c, "[\"s1\",\"s2\"],\"id\":\"e1:7\"");
    client_send(c, "{\"type\":\"unsubscribe\"}");
    client_expect_part(c, "[\"s1\",\"s2\"]");
    client_quiet(c);
}

static void test_replaced_by_one_that_does_not_fit(void **state)
{
    struct table *successor = table("users", 7, "height:INTEGER:");

    (void)state;
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"users\",\"filter\":\"age=10\"}");
    feed_delete(&f, users, ONE);
    feed_ddl(&f, CHANGE_TABLE_DROPPED, users, NULL);
    feed_commit(&f, 0, schema_of(successor, NULL));
    feed_publish(&f);
    client_expect_part(c, "INVALID_FILTER");
    client_quiet(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ddl_goes_to_channel_tables, setup, teardown),
        cmocka_unit_test_setup_teardown(test_added_column, setup, teardown),
        cmocka_unit_test_setup_teardown(test_definition_comes_with_the_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_column_ends_the_subscription, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_subscription_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rename_away_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_tables_exchange_their_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop_reports_the_last_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replaced_in_one_transaction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replaced_by_one_that_does_not_fit, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
