#include "fixture.h"

#include "change/schema.h"
#include <stdio.h>
#include <string.h>

/* What a commit's DDL looks like from outside: created and altered, then rows, then dropped. */

static void rows_follow_the_last_definition(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
    forget_events(f);
    sql_ok(f,
        "BEGIN; INSERT INTO t VALUES(1,'x','y'); UPDATE t SET b='z'; UPDATE t SET a='w';"
        "ALTER TABLE t ADD COLUMN r REAL DEFAULT 3; ALTER TABLE t RENAME COLUMN a TO n;"
        "ALTER TABLE t DROP COLUMN b; ALTER TABLE t RENAME TO u; INSERT INTO u VALUES(2,'v',4);"
        "COMMIT");
    expect_events(f,
        "table:altered u {\"columns\":["
        "{\"name\":\"id\",\"type\":\"INTEGER\",\"notNull\":false,\"default\":null,\"primaryKey\":"
        "true,"
        "\"generated\":null},"
        "{\"name\":\"n\",\"type\":\"\",\"notNull\":false,\"default\":null,\"primaryKey\":false,"
        "\"generated\":null},"
        "{\"name\":\"r\",\"type\":\"REAL\",\"notNull\":false,\"default\":\"3\",\"primaryKey\":"
        "false,"
        "\"generated\":null}],\"added\":[\"r\"],\"dropped\":[\"b\"],"
        "\"renamed\":[{\"from\":\"a\",\"to\":\"n\"}],\"renamedFrom\":\"t\"}\n"
        "INSERT u {\"id\":1} {\"id\":1,\"n\":\"x\",\"r\":3.0}\n"
        "UPDATE u {\"id\":1} {\"id\":1,\"n\":\"x\",\"r\":3.0} -> {\"id\":1,\"n\":\"w\",\"r\":3.0}\n"
        "INSERT u {\"id\":2} {\"id\":2,\"n\":\"v\",\"r\":4.0}\ncommit\n");
}

static void order_in_a_commit(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE old(a); CREATE TABLE t(a)");
    forget_events(f);
    sql_ok(f,
        "BEGIN; INSERT INTO old VALUES(1); DROP TABLE old; INSERT INTO t VALUES(2); CREATE TABLE "
        "fresh(a); INSERT INTO fresh VALUES(3); CREATE TABLE gone(a); INSERT INTO gone "
        "VALUES(4); DROP TABLE gone; COMMIT");
    expect_events(f, "table:created fresh\n"
                     "INSERT old {\"rowid\":1} {\"a\":1}\n"
                     "INSERT t {\"rowid\":1} {\"a\":2}\n"
                     "INSERT fresh {\"rowid\":1} {\"a\":3}\n"
                     "table:dropped old\ncommit\n");
}

static void dropped_and_created_again(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a)");
    struct schema *s = database_schema(f->db);
    uint64_t id = schema_find(s, "t", 1)->id;
    schema_unref(s);
    forget_events(f);
    sql_ok(f, "BEGIN; INSERT INTO t VALUES(1); DROP TABLE t; CREATE TABLE t(a); INSERT INTO t "
              "VALUES(2); COMMIT");
    expect_events(
        f, "table:dropped t\ntable:created t\nINSERT t {\"rowid\":1} {\"a\":2}\ncommit\n");
    s = database_schema(f->db);
    assert_int_not_equal(schema_find(s, "t", 1)->id, id);
    schema_unref(s);
}

static void rolled_back(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a); INSERT INTO t VALUES(0)");
    struct schema *before = database_schema(f->db);
    forget_events(f);
    sql_ok(f, "BEGIN; DROP TABLE t; CREATE TABLE x(a); ROLLBACK");
    sql_error(
        f, "BEGIN; ALTER TABLE t ADD COLUMN b; INSERT INTO t VALUES(1,2); SELECT nope; COMMIT");
    expect_events(f, "");
    struct schema *after = database_schema(f->db);
    assert_ptr_equal(before, after);
    schema_unref(before);
    schema_unref(after);
    sql_ok(f,
        "BEGIN; INSERT INTO t VALUES(1); SAVEPOINT s; ALTER TABLE t ADD COLUMN b DEFAULT 5; INSERT "
        "INTO t VALUES(2,2); ROLLBACK TO s; INSERT INTO t VALUES(3); COMMIT");
    expect_events(
        f, "INSERT t {\"rowid\":2} {\"a\":1}\nINSERT t {\"rowid\":3} {\"a\":3}\ncommit\n");
    /* The cookie is the same as after the ALTER that was undone. */
    sql_ok(f, "BEGIN; SAVEPOINT s; ALTER TABLE t ADD COLUMN b; ROLLBACK TO s; ALTER TABLE t ADD "
              "COLUMN c; "
              "INSERT INTO t VALUES(4,5); COMMIT; DELETE FROM t WHERE a=4");
    forget_events(f);
    expect_rows(f, "SELECT * FROM t", "[[0,null],[1,null],[3,null]]");
}

static void defaults_of_added_columns(void **state)
{
    struct fixture *f = *state;
    sql_ok(f,
        "BEGIN; CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1);"
        "ALTER TABLE t ADD COLUMN a TEXT DEFAULT 7; ALTER TABLE t ADD COLUMN b INT DEFAULT '8';"
        "ALTER TABLE t ADD COLUMN c DEFAULT word; ALTER TABLE t ADD COLUMN d DEFAULT (-1);"
        "ALTER TABLE t ADD COLUMN e DEFAULT true; ALTER TABLE t ADD COLUMN v AS (id+1);"
        "ALTER TABLE t ADD COLUMN g DEFAULT \"q\"; ALTER TABLE t ADD COLUMN h DEFAULT 3.0;"
        "ALTER TABLE t ADD COLUMN i TEXT DEFAULT 7.50; COMMIT");
    expect_events(f,
        "table:created t\n"
        "INSERT t {\"id\":1} {\"id\":1,\"a\":\"7\",\"b\":8,\"c\":\"word\",\"d\":-1,\"e\":1,"
        "\"g\":\"q\",\"h\":3,\"i\":\"7.50\"}\ncommit\n");
    expect_rows(f, "SELECT a,b,c,d,e,g,h,i FROM t", "[[\"7\",8,\"word\",-1,1,\"q\",3,\"7.50\"]]");
}

static void made_elsewhere(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a); CREATE TABLE u(a)");
    forget_events(f);
    foreign(f, "ALTER TABLE t ADD COLUMN b; DROP TABLE u; CREATE TABLE n(x)");
    sql_ok(f, "INSERT INTO t VALUES(1,2); INSERT INTO n VALUES(3)");
    expect_events(f,
        "table:altered t "
        "{\"columns\":[{\"name\":\"a\",\"type\":\"\",\"notNull\":false,\"default\":null,"
        "\"primaryKey\":false,\"generated\":null},{\"name\":\"b\",\"type\":\"\",\"notNull\":false,"
        "\"default\":null,\"primaryKey\":false,\"generated\":null}],\"added\":[\"b\"],\"dropped\":["
        "],"
        "\"renamed\":[]} external\n"
        "table:created n external\n"
        "table:dropped u external\ncommit\n"
        "INSERT t {\"rowid\":1} {\"a\":1,\"b\":2}\ncommit\n"
        "INSERT n {\"rowid\":1} {\"x\":3}\ncommit\n");
}

/* Each event can be applied when it arrives: the name it needs is free. */
static void names_handed_on(void **state)
{
    struct fixture *f = *state;
    char text[2048];
    sql_ok(f, "CREATE TABLE b(x); CREATE TABLE a(x); CREATE TABLE c(x)");
    forget_events(f);
    sql_ok(f, "BEGIN; DROP TABLE c; ALTER TABLE b RENAME TO c; ALTER TABLE a RENAME TO b; CREATE "
              "TABLE a(x); "
              "COMMIT");
    pthread_mutex_lock(&f->lock);
    snprintf(text, sizeof(text), "%s", buf_text(&f->log));
    pthread_mutex_unlock(&f->lock);
    const char *dropped = strstr(text, "table:dropped c"), *first = strstr(text, "table:altered c"),
               *second = strstr(text, "table:altered b"),
               *created = strstr(text, "table:created a");
    assert_true(dropped && first && second && created);
    assert_true(dropped < first && first < second && second < created);
}

static void identities(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY DESC, a COLLATE NOCASE, r REAL, v AS (a), b "
              "NOT NULL) ; "
              "CREATE TABLE s(x ANY, y INTEGER PRIMARY KEY) STRICT");
    struct schema *s1 = database_schema(f->db);
    sql_ok(f, "ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME COLUMN r TO q; VACUUM");
    sql_ok(f, "ALTER TABLE u DROP COLUMN v");
    struct schema *s2 = database_schema(f->db);
    const struct table *t = schema_find(s1, "t", 1), *u = schema_find(s2, "u", 1);
    assert_int_equal(t->id, u->id);
    assert_int_equal(t->rowid_alias, -1);
    assert_int_equal(t->columns[1].collation, COLLATION_NOCASE);
    assert_int_equal(t->columns[3].stored, -1);
    assert_int_equal(t->columns[4].stored, 3);
    assert_int_equal(t->columns[2].id, u->columns[2].id);
    assert_int_equal(t->columns[4].id, u->columns[3].id);
    const struct table *strict = schema_find(s2, "S", 1);
    assert_true(strict->strict);
    assert_int_equal(strict->columns[0].affinity, AFFINITY_BLOB);
    assert_int_equal(strict->rowid_alias, 1);
    schema_unref(s1);
    schema_unref(s2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(rows_follow_the_last_definition),
        TEST(order_in_a_commit),
        TEST(dropped_and_created_again),
        TEST(rolled_back),
        TEST(defaults_of_added_columns),
        TEST(made_elsewhere),
        TEST(names_handed_on),
        TEST(identities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
