#include "hub_fixture.h"

#include "fake_pager.h"

#include <stdio.h>

/* Who hears of what becomes of the tables themselves, and in which order. */

static struct feed f;
static struct table *users, *notes;
static struct database *db;

static struct schema *two(void)
{
    return schema_of(table_ref(users), table_ref(notes), NULL);
}

static int setup(void **state)
{
    (void)state;
    users = TABLE("users", "id:INTEGER:k", "age:INTEGER:");
    notes = TABLE("notes", "id:INTEGER:", "text:TEXT:");
    notes->id = 2;
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
    table_unref(notes);
    return 0;
}

#define USERS "{\"type\":\"subscribe\",\"table\":\"users\""
#define NOTES "{\"type\":\"subscribe\",\"table\":\"notes\""
#define TABLES "{\"type\":\"subscribe\",\"channel\":\"tables\""

static void commit(uint64_t origin, struct schema *schema)
{
    feed_commit(&f, origin, schema);
    feed_publish(&f);
}

static void insert(const struct table *t)
{
    feed_insert(&f, t, ROW(INTEGER(1), INTEGER(10)));
}

static void drop_users(uint64_t origin)
{
    insert(users);
    feed_delete(&f, users, ROW(INTEGER(1), INTEGER(10)));
    feed_ddl(&f, CHANGE_TABLE_DROPPED, users, NULL);
    commit(origin, schema_of(table_ref(notes), NULL));
}

/* What is collected for `batch` comes before the news that the table is gone. */
static void test_batch_before_dropped(void **state)
{
    struct client *channel = client_new(&f), *alone = client_new(&f);

    (void)state;
    client_subscribe(channel, USERS ",\"batch\":true}");
    client_subscribe(channel, TABLES "}");
    client_subscribe(alone, USERS ",\"batch\":true}");
    client_subscribe(alone, USERS "}");
    drop_users(0);
    client_expect_part(channel, "\"type\":\"changes\",\"channel\":\"tables\",\"seq\":2,\"tx\":1,");
    assert_null(strstr(channel->text, "\"more\""));
    client_expect_part(channel, "{\"id\":\"e1:3\",");
    assert_non_null(strstr(channel->text, "\"type\":\"table:dropped\""));
    client_quiet(channel);
    client_expect_part(alone, "{\"subscriptions\":[\"s2\"],\"id\":\"e1:1\"");
    client_expect_part(alone, "{\"subscriptions\":[\"s2\"],\"id\":\"e1:2\"");
    client_expect_part(alone, "\"type\":\"changes\",\"channel\":\"tables\",\"seq\":2,\"tx\":1,");
    client_expect_part(alone, "{\"subscriptions\":[\"s1\",\"s2\"],\"id\":\"e1:3\"");
    client_quiet(alone);
    client_free(alone);
    client_free(channel);
}

static void test_batch_before_dropped_in_the_past(void **state)
{
    struct table *again = TABLE("users", "id:INTEGER:k", "age:INTEGER:");
    struct client *c = client_new(&f);

    (void)state;
    again->id = 7;
    drop_users(0);
    feed_ddl(&f, CHANGE_TABLE_CREATED, again, NULL);
    commit(0, schema_of(again, table_ref(notes), NULL));
    client_subscribe(c, USERS ",\"batch\":true,\"since\":0}");
    client_expect_part(c, "\"type\":\"changes\",\"channel\":\"tables\",\"seq\":2,\"tx\":1,");
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:3\"");
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:4\"");
    client_quiet(c);
    client_free(c);
}

/* Events, filters and columns are about rows; only `self` is about who did it. */
static void test_subscriptions_are_told(void **state)
{
    struct client *c = client_new(&f), *other = client_new(&f);

    (void)state;
    client_subscribe(
        c, USERS ",\"events\":[\"insert\"],\"filter\":\"age=7\",\"columns\":[\"id\"]}");
    client_subscribe(c, USERS ",\"self\":false}");
    client_subscribe(other, "{\"type\":\"subscribe\",\"table\":\"*\"}");
    client_subscribe(other, NOTES "}");
    feed_ddl(&f, CHANGE_TABLE_DROPPED, users, NULL);
    commit(c->id, schema_of(table_ref(notes), NULL));
    client_expect(c,
        "{\"subscriptions\":[\"s1\"],\"id\":\"e1:1\",\"timestamp\":T,\"type\":\"table:dropped\","
        "\"channel\":\"tables\",\"seq\":1,\"tx\":1,\"data\":{\"tableName\":\"users\",\"userId\":"
        "null,\"timestamp\":T,\"changes\":{\"columns\":["
        "{\"name\":\"id\",\"type\":\"INTEGER\",\"notNull\":false,\"default\":null,"
        "\"primaryKey\":true,\"generated\":null},"
        "{\"name\":\"age\",\"type\":\"INTEGER\",\"notNull\":false,\"default\":null,"
        "\"primaryKey\":false,\"generated\":null}]}}}");
    client_quiet(c);
    client_quiet(other);
    client_free(c);
    client_free(other);
}

/* A connection in the channel hears it there, once, also while a subscription gets the past. */
static void test_the_channel_is_enough(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    client_subscribe(c, USERS "}");
    client_subscribe(c, TABLES "}");
    drop_users(0);
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:1\"");
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:2\"");
    client_expect_part(c, "{\"id\":\"e1:3\",");
    client_quiet(c);
    feed_ddl(&f, CHANGE_TABLE_CREATED, users, NULL);
    commit(0, two());
    client_expect_part(c, "{\"id\":\"e1:4\",");
    client_subscribe(c, USERS ",\"since\":0}");
    client_expect_part(c, "{\"subscriptions\":[\"s2\"],\"id\":\"e1:1\"");
    client_expect_part(c, "{\"subscriptions\":[\"s2\"],\"id\":\"e1:2\"");
    client_quiet(c);
    client_free(c);
}

/* VACUUM. */

static void renumber(void)
{
    feed_ddl(&f, CHANGE_ROWIDS_RENUMBERED, notes, NULL);
    commit(0, NULL);
}

static void expect_resync(struct client *c, const char *sub, int seq)
{
    char text[300];

    snprintf(text, sizeof(text),
        "{\"id\":\"c\",\"timestamp\":T,\"type\":\"resync\",\"subscription\":\"%s\","
        "\"table\":\"notes\",\"reason\":\"rowids_renumbered\",\"seq\":%d,"
        "\"data\":{\"subscription\":\"%s\",\"table\":\"notes\","
        "\"reason\":\"rowids_renumbered\",\"seq\":%d}}",
        sub, seq, sub, seq);
    client_expect(c, text);
}

static void test_renumbered(void **state)
{
    struct client *c = client_new(&f), *other = client_new(&f);

    (void)state;
    client_subscribe(c, NOTES ",\"filter\":\"id=7\",\"events\":[\"delete\"]}");
    client_subscribe(c, USERS "}");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"*\"}");
    client_subscribe(c, NOTES ",\"batch\":true}");
    client_subscribe(other, USERS "}");
    client_subscribe(other, TABLES "}");
    insert(users);
    commit(0, NULL);
    renumber();
    insert(users);
    commit(0, NULL);
    client_expect_part(c, "[\"s2\",\"s3\"],\"id\":\"e1:1\"");
    expect_resync(c, "s1", 2);
    expect_resync(c, "s4", 2);
    expect_resync(c, "s3", 2);
    client_expect_part(c, "[\"s2\",\"s3\"],\"id\":\"e1:3\"");
    client_quiet(c);
    client_expect_part(other, "\"id\":\"e1:1\"");
    client_expect_part(other, "\"id\":\"e1:3\"");
    client_quiet(other);
    client_free(c);
    client_free(other);
}

/* Who resumes from before it is told in its place; others get past it as if there were none. */
static void test_renumbered_in_the_past(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    insert(notes);
    commit(0, NULL);
    renumber();
    insert(notes);
    commit(0, NULL);
    client_subscribe(c, NOTES ",\"since\":0}");
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:1\"");
    expect_resync(c, "s1", 2);
    client_expect_part(c, "{\"subscriptions\":[\"s1\"],\"id\":\"e1:3\"");
    client_subscribe(c, "{\"type\":\"subscribe\",\"table\":\"*\",\"since\":1,\"batch\":true}");
    expect_resync(c, "s2", 2);
    client_expect_part(c, "{\"subscriptions\":[\"s2\"],\"id\":\"e1:3\"");
    client_subscribe(c, NOTES ",\"since\":2}");
    client_expect_part(c, "{\"subscriptions\":[\"s3\"],\"id\":\"e1:3\"");
    client_subscribe(c, USERS ",\"since\":0}");
    client_subscribe(c, TABLES ",\"since\":0}");
    client_quiet(c);
    client_free(c);
}

/* Rows that were read before it are followed by the news. */
static void test_renumbered_during_a_snapshot(void **state)
{
    struct client *c = client_new(&f);

    (void)state;
    db->rows = 3;
    fake_pager_hold(db);
    client_send(c, USERS ",\"snapshot\":true}");
    feed_ddl(&f, CHANGE_ROWIDS_RENUMBERED, users, NULL);
    commit(0, NULL);
    insert(users);
    commit(0, NULL);
    client_quiet(c);
    fake_pager_release(db);
    client_expect_part(c, "subscribed");
    client_expect_part(c, "\"last\":true");
    client_expect_part(c, "\"reason\":\"rowids_renumbered\",\"seq\":1");
    client_expect_part(c, "\"id\":\"e1:2\"");
    client_quiet(c);
    client_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_batch_before_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch_before_dropped_in_the_past, setup, teardown),
        cmocka_unit_test_setup_teardown(test_subscriptions_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_channel_is_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(test_renumbered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_renumbered_in_the_past, setup, teardown),
        cmocka_unit_test_setup_teardown(test_renumbered_during_a_snapshot, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
