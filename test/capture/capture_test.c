#include "fixture.h"

/*
 * What SQLite's hooks miss or report too much of, one test for each. The reader may type the SQL into
 * a client and watch the events.
 */

static void plain_changes(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)"),
        "{\"columns\":[],\"rows\":[],\"changes\":0,\"lastInsertRowid\":0,\"seq\":1}");
    expect_events(f, "table:created t\ncommit\n");
    assert_string_equal(sql_ok(f, "INSERT INTO t(v) VALUES('a'),(2)"),
        "{\"columns\":[],\"rows\":[],\"changes\":2,\"lastInsertRowid\":2,\"seq\":3}");
    sql_ok(f, "UPDATE t SET v=1.0 WHERE id=1");
    assert_string_equal(sql_ok(f, "DELETE FROM t WHERE id=2 RETURNING v"),
        "{\"columns\":[\"v\"],\"rows\":[[2]],\"changes\":1,\"lastInsertRowid\":0,\"seq\":5}");
    expect_events(f, "INSERT t {\"id\":1} {\"id\":1,\"v\":\"a\"}\n"
                     "INSERT t {\"id\":2} {\"id\":2,\"v\":2}\n"
                     "commit\n"
                     "UPDATE t {\"id\":1} {\"id\":1,\"v\":\"a\"} -> {\"id\":1,\"v\":1.0}\n"
                     "commit\n"
                     "DELETE t {\"id\":2} {\"id\":2,\"v\":2}\n"
                     "commit\n");
    assert_string_equal(sql_ok(f, "SELECT * FROM t"),
        "{\"columns\":[\"id\",\"v\"],\"rows\":[[1,1.0]],\"changes\":0,\"lastInsertRowid\":0,"
        "\"seq\":5}");
}

/* sqlite3_update_hook misses these. */
static void without_rowid_and_replace(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE w(a, b, PRIMARY KEY(b)) WITHOUT ROWID; CREATE TABLE t(id INTEGER PRIMARY "
              "KEY, u UNIQUE); INSERT INTO t VALUES(1,'x'),(2,'y')");
    forget_events(f);
    sql_ok(f, "INSERT INTO w VALUES(1,2); UPDATE w SET b=3; DELETE FROM w");
    sql_ok(f, "REPLACE INTO t VALUES(1,'y')");
    expect_events(f, "INSERT w {\"b\":2} {\"a\":1,\"b\":2}\n"
                     "commit\n"
                     "UPDATE w {\"b\":2} {\"a\":1,\"b\":2} -> {\"a\":1,\"b\":3}\n"
                     "commit\n"
                     "DELETE w {\"b\":3} {\"a\":1,\"b\":3}\n"
                     "commit\n"
                     "DELETE t {\"id\":1} {\"id\":1,\"u\":\"x\"}\n"
                     "DELETE t {\"id\":2} {\"id\":2,\"u\":\"y\"}\n"
                     "INSERT t {\"id\":1} {\"id\":1,\"u\":\"y\"}\n"
                     "commit\n");
}

/* DELETE without WHERE is truncated where no preupdate hook is set. DROP must still drop. */
static void truncation(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a); INSERT INTO t VALUES(1),(2)");
    forget_events(f);
    sql_ok(f, "DELETE FROM t");
    expect_events(f, "DELETE t {\"rowid\":1} {\"a\":1}\nDELETE t {\"rowid\":2} {\"a\":2}\ncommit\n");
    sql_ok(f, "INSERT INTO t VALUES(3); DROP TABLE t");
    expect_events(f, "INSERT t {\"rowid\":1} {\"a\":3}\ncommit\ntable:dropped t\ncommit\n");
    expect_rows(f, "SELECT count(*) FROM sqlite_master", "[[0]]");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(plain_changes),
        TEST(without_rowid_and_replace),
        TEST(truncation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
