#include "fixture.h"

#include <string.h>

/* The server's own VACUUM: which tables' rowids it changed, and that nobody else is bothered. */

static void only_what_moved(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE ipk(id INTEGER PRIMARY KEY, v); CREATE TABLE pk(k TEXT PRIMARY KEY, v);"
              "CREATE TABLE wr(k PRIMARY KEY) WITHOUT ROWID; CREATE TABLE indexed(a);"
              "CREATE INDEX i ON indexed(a); CREATE TABLE dense(a); CREATE TABLE empty(a);"
              "CREATE TABLE gap(a); CREATE TABLE late(a); CREATE TABLE \"q\"\"t\"(rowid, oid);"
              "CREATE TABLE hidden(rowid, oid, _rowid_);");
    for (int i = 0; i < 2; i++)
        sql_ok(f,
            "INSERT INTO ipk VALUES(NULL,1),(NULL,2),(NULL,3); DELETE FROM ipk WHERE v=2;"
            "INSERT OR REPLACE INTO pk VALUES('a',1),(NULL,2),('c',3); DELETE FROM pk WHERE v=1;"
            "INSERT OR REPLACE INTO wr VALUES(1),(2),(3); DELETE FROM wr WHERE k=2;"
            "INSERT INTO indexed VALUES(1),(2),(3); DELETE FROM indexed WHERE a=2;"
            "INSERT INTO dense VALUES(1),(2),(3); DELETE FROM dense WHERE a=3;"
            "DELETE FROM dense; INSERT INTO dense VALUES(1),(2);"
            "INSERT INTO gap VALUES(1),(2),(3); DELETE FROM gap WHERE a=2;"
            "DELETE FROM late; INSERT INTO late(rowid,a) VALUES(5,1),(6,1);"
            "INSERT INTO \"q\"\"t\"(_rowid_,oid) VALUES(NULL,1); DELETE FROM \"q\"\"t\" WHERE "
            "oid=7");
    forget_events(f);
    sql_ok(f, "VACUUM");
    expect_events(f, "rowids_renumbered gap\nrowids_renumbered hidden\nrowids_renumbered late\n"
                     "commit\n");
    sql_ok(f, "VACUUM");
    expect_events(f, "rowids_renumbered hidden\ncommit\n");
    sql_ok(f, "DROP TABLE hidden");
    forget_events(f);
    sql_ok(f, "VACUUM; VACUUM");
    expect_events(f, "");
    expect_rows(f, "SELECT group_concat(rowid) FROM gap", "[[\"1,2,3,4\"]]");
}

static void keys_alone_tell_nothing(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE a(id INTEGER PRIMARY KEY); CREATE TABLE b(k TEXT PRIMARY KEY, v);"
              "INSERT INTO a VALUES(1),(5),(9); INSERT INTO b VALUES('x',1),('y',2),('z',3);"
              "DELETE FROM b WHERE k='y'");
    uint64_t seq = database_seq(f->db);
    forget_events(f);
    sql_ok(f, "VACUUM");
    expect_events(f, "");
    assert_int_equal(database_seq(f->db), seq);
}

/* Its seq is in the answer, and what follows in the script comes after it. */
static void in_a_script(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a); INSERT INTO t VALUES(1),(2),(3); DELETE FROM t WHERE a=2");
    forget_events(f);
    uint64_t seq = database_seq(f->db);
    assert_non_null(strstr(sql_ok(f, "VACUUM"), "\"changes\":0"));
    assert_int_equal(database_seq(f->db), seq + 1);
    expect_events(f, "rowids_renumbered t\ncommit\n");
    sql_ok(f, "DELETE FROM t WHERE a=1; VACUUM; INSERT INTO t VALUES(4)");
    expect_events(f, "DELETE t {\"rowid\":1} {\"a\":1}\ncommit\nrowids_renumbered t\ncommit\n"
                     "INSERT t {\"rowid\":2} {\"a\":4}\ncommit\n");
}

/* One that fails changes nothing and tells nothing. */
static void a_failure(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a); INSERT INTO t VALUES(1),(2),(3); DELETE FROM t WHERE a=2");
    forget_events(f);
    expect_starts(sql_error(f, "BEGIN; VACUUM; COMMIT"),
        "SQL_ERROR: cannot VACUUM from within a transaction");
    expect_events(f, "");
    sql_ok(f, "INSERT INTO t VALUES(4)");
    expect_events(f, "INSERT t {\"rowid\":4} {\"a\":4}\ncommit\n");
}

/* What others did before it comes before it, with the rowids of then; their own VACUUM is rows. */
static void with_others(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->options.external = true;
    fixture_open(f);
    sql_ok(f, "CREATE TABLE t(a); INSERT INTO t VALUES(1),(2),(3)");
    forget_events(f);
    foreign(f, "DELETE FROM t WHERE a=2");
    sql_ok(f, "VACUUM");
    expect_events(
        f, "DELETE t {\"rowid\":2} {\"a\":2} external\ncommit\nrowids_renumbered t\ncommit\n");
    foreign(f, "INSERT INTO t VALUES(5)");
    await_events(f, "INSERT t {\"rowid\":3} {\"a\":5} external\ncommit\n");
    foreign(f, "DELETE FROM t WHERE a=1; VACUUM");
    sql_ok(f, "INSERT INTO t VALUES(6)");
    expect_rows(f, "SELECT group_concat(rowid||':'||a) FROM t", "[[\"1:3,2:5,3:6\"]]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_moved, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(keys_alone_tell_nothing, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(in_a_script, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_failure, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(with_others, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
