#include "fixture.h"

#include <stdio.h>

/*
 * What SQLite's hooks miss or report too much of, one test for each. The reader may type the SQL
 * into a client and watch the events.
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
    sql_ok(f,
        "CREATE TABLE w(a, b, PRIMARY KEY(b)) WITHOUT ROWID; CREATE TABLE t(id INTEGER PRIMARY "
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
    expect_events(
        f, "DELETE t {\"rowid\":1} {\"a\":1}\nDELETE t {\"rowid\":2} {\"a\":2}\ncommit\n");
    sql_ok(f, "INSERT INTO t VALUES(3); DROP TABLE t");
    expect_events(f, "INSERT t {\"rowid\":1} {\"a\":3}\ncommit\ntable:dropped t\ncommit\n");
    expect_rows(f, "SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'rowtap%'", "[[0]]");
}

/* CREATE TABLE AS, DROP COLUMN's rewriting and VACUUM call no hook, or one for another schema. */
static void silent_statements(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a, b); INSERT INTO t VALUES(1,2)");
    forget_events(f);
    sql_ok(f, "CREATE TABLE c AS SELECT a+1 AS x, 'k' AS y FROM t");
    expect_events(f, "table:created c\nINSERT c {\"rowid\":1} {\"x\":2,\"y\":\"k\"}\ncommit\n");
    sql_ok(f, "ALTER TABLE t DROP COLUMN b");
    expect_events(f,
        "table:altered t {\"columns\":[{\"name\":\"a\",\"type\":\"\",\"notNull\":false,"
        "\"default\":null,\"primaryKey\":false,\"generated\":null}],\"added\":[],\"dropped\":["
        "\"b\"],\"renamed\":[]}\ncommit\n");
    sql_ok(f, "VACUUM");
    expect_events(f, "");
    sql_ok(f, "INSERT INTO t VALUES(5)");
    expect_events(f, "INSERT t {\"rowid\":2} {\"a\":5}\ncommit\n");
}

/* The transfer optimisation copies whole records; it must report values all the same. */
static void transfer(void **state)
{
    struct fixture *f = *state;
    sql_ok(f,
        "CREATE TABLE a(x INTEGER PRIMARY KEY, y REAL); CREATE TABLE b(x INTEGER PRIMARY KEY, y "
        "REAL); INSERT INTO a VALUES(1,2),(3,4.5)");
    forget_events(f);
    sql_ok(f, "INSERT INTO b SELECT * FROM a");
    expect_events(f, "INSERT b {\"x\":1} {\"x\":1,\"y\":2.0}\n"
                     "INSERT b {\"x\":3} {\"x\":3,\"y\":4.5}\ncommit\n");
}

static void triggers_and_cascades(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p "
              "REFERENCES p ON DELETE CASCADE); CREATE TABLE log(m);"
              "CREATE TRIGGER tr AFTER DELETE ON c BEGIN INSERT INTO log VALUES(old.id); END;"
              "INSERT INTO p VALUES(1); INSERT INTO c VALUES(7,1)");
    forget_events(f);
    sql_ok(f, "DELETE FROM p");
    expect_events(f, "DELETE p {\"id\":1} {\"id\":1}\n"
                     "DELETE c {\"id\":7} {\"id\":7,\"p\":1}\n"
                     "INSERT log {\"rowid\":1} {\"m\":7}\ncommit\n");
}

static void shadow_tables(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE VIRTUAL TABLE s USING fts5(x); CREATE VIRTUAL TABLE r USING "
              "rtree(id,a,b); INSERT INTO s VALUES('hello'); INSERT INTO r VALUES(1,2,3); "
              "DELETE FROM s; DELETE FROM r; CREATE VIEW v AS SELECT 1; DROP VIEW v; ANALYZE");
    expect_events(f, "table:created s\ncommit\ntable:created r\ncommit\n");
    sql_ok(f, "DROP TABLE s");
    expect_events(f, "table:dropped s\ncommit\n");
}

static void nothing_changed(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,NULL),(2,x'00')");
    forget_events(f);
    assert_string_equal(sql_ok(f, "UPDATE t SET v=v"),
        "{\"columns\":[],\"rows\":[],\"changes\":2,\"lastInsertRowid\":0,\"seq\":3}");
    expect_events(f, "");
}

static void moved_keys(void **state)
{
    struct fixture *f = *state;
    sql_ok(f,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,'a'); CREATE TABLE "
        "n(v); INSERT INTO n VALUES(1)");
    forget_events(f);
    sql_ok(f, "UPDATE t SET id=9; UPDATE n SET rowid=5");
    expect_events(f,
        "UPDATE t {\"id\":1} {\"id\":1,\"v\":\"a\"} -> {\"id\":9,\"v\":\"a\"}\ncommit\n"
        "UPDATE n {\"rowid\":1} {\"v\":1} -> {\"v\":1}\ncommit\n");
}

/* The rowid of a table with another key is not reported, so moving it is no event; a NULL in the
 * key makes it the key. */
static void moved_rowid_behind_a_key(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES('a',1),(NULL,2)");
    forget_events(f);
    sql_ok(f, "UPDATE t SET rowid=rowid+10 WHERE k='a'");
    expect_events(f, "");
    sql_ok(f, "UPDATE t SET rowid=rowid+10 WHERE k IS NULL");
    expect_events(
        f, "UPDATE t {\"rowid\":2} {\"k\":null,\"v\":2} -> {\"k\":null,\"v\":2}\ncommit\n");
}

/* The hook numbers stored columns, and mistakes some of them: see reread.c. */
static void generated_columns(void **state)
{
    struct fixture *f = *state;
    sql_ok(f,
        "CREATE TABLE t(v AS (b+1), id INTEGER PRIMARY KEY, b INTEGER, s AS (b*2) STORED, c TEXT)");
    forget_events(f);
    sql_ok(f, "INSERT INTO t(id,b,c) VALUES(10,20,'x'); UPDATE t SET b=21; UPDATE t SET id=11,c=5;"
              "UPDATE t SET b=b; REPLACE INTO t(id,b) VALUES(11,7); DELETE FROM t");
    expect_events(f, "INSERT t {\"id\":10} {\"id\":10,\"b\":20,\"s\":40,\"c\":\"x\"}\ncommit\n"
                     "UPDATE t {\"id\":10} {\"id\":10,\"b\":20,\"s\":40,\"c\":\"x\"} -> "
                     "{\"id\":10,\"b\":21,\"s\":42,\"c\":\"x\"}\ncommit\n"
                     "UPDATE t {\"id\":10} {\"id\":10,\"b\":21,\"s\":42,\"c\":\"x\"} -> "
                     "{\"id\":11,\"b\":21,\"s\":42,\"c\":\"5\"}\ncommit\n"
                     "DELETE t {\"id\":11} {\"id\":11,\"b\":21,\"s\":42,\"c\":\"5\"}\n"
                     "INSERT t {\"id\":11} {\"id\":11,\"b\":7,\"s\":14,\"c\":null}\ncommit\n"
                     "DELETE t {\"id\":11} {\"id\":11,\"b\":7,\"s\":14,\"c\":null}\ncommit\n");
    sql_ok(f, "CREATE TABLE w(v AS (c), a, b, c, PRIMARY KEY(c,a)) WITHOUT ROWID");
    forget_events(f);
    sql_ok(f, "INSERT INTO w VALUES(1,2,3); UPDATE w SET a=6,b=8; DELETE FROM w");
    expect_events(f, "INSERT w {\"c\":3,\"a\":1} {\"a\":1,\"b\":2,\"c\":3}\ncommit\n"
                     "UPDATE w {\"c\":3,\"a\":1} {\"a\":1,\"b\":2,\"c\":3} -> "
                     "{\"a\":6,\"b\":8,\"c\":3}\ncommit\n"
                     "DELETE w {\"c\":3,\"a\":6} {\"a\":6,\"b\":8,\"c\":3}\ncommit\n");
}

static void integers_of_real_columns(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE r(id INTEGER PRIMARY KEY, a REAL)");
    forget_events(f);
    sql_ok(f, "INSERT INTO r VALUES(1,1); UPDATE r SET a=2; DELETE FROM r");
    expect_events(f, "INSERT r {\"id\":1} {\"id\":1,\"a\":1.0}\ncommit\n"
                     "UPDATE r {\"id\":1} {\"id\":1,\"a\":1.0} -> {\"id\":1,\"a\":2.0}\ncommit\n"
                     "DELETE r {\"id\":1} {\"id\":1,\"a\":2.0}\ncommit\n");
}

/* Looked up by the wrong index, a large integer would come back as a rounded real. */
static void large_integers(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER, v REAL AS (id), b);"
              "CREATE TABLE w(a REAL, k INTEGER, b INTEGER, PRIMARY KEY(k)) WITHOUT ROWID");
    forget_events(f);
    sql_ok(f, "INSERT INTO t VALUES(1,9223372036854775807); UPDATE t SET id=2; DELETE FROM t");
    expect_events(f, "INSERT t {\"rowid\":1} {\"id\":1,\"b\":9223372036854775807}\ncommit\n"
                     "UPDATE t {\"rowid\":1} {\"id\":1,\"b\":9223372036854775807} -> "
                     "{\"id\":2,\"b\":9223372036854775807}\ncommit\n"
                     "DELETE t {\"rowid\":1} {\"id\":2,\"b\":9223372036854775807}\ncommit\n");
    sql_ok(f, "INSERT INTO w VALUES(1,9223372036854775807,5); UPDATE w SET a=2; DELETE FROM w");
    expect_events(f,
        "INSERT w {\"k\":9223372036854775807} "
        "{\"a\":1.0,\"k\":9223372036854775807,\"b\":5}\ncommit\n"
        "UPDATE w {\"k\":9223372036854775807} {\"a\":1.0,\"k\":9223372036854775807,\"b\":5} -> "
        "{\"a\":2.0,\"k\":9223372036854775807,\"b\":5}\ncommit\n"
        "DELETE w {\"k\":9223372036854775807} "
        "{\"a\":2.0,\"k\":9223372036854775807,\"b\":5}\ncommit\n");
}

/* Rows written before ALTER TABLE ADD COLUMN have no value of their own in it. */
static void added_columns(void **state)
{
    struct fixture *f = *state;
    sql_ok(f,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,'a'),(2,'b'),(3,'c');"
        "ALTER TABLE t ADD COLUMN z INT DEFAULT 7;"
        "CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO w VALUES('k',1);"
        "ALTER TABLE w ADD COLUMN z DEFAULT 'd'");
    forget_events(f);
    sql_ok(f,
        "UPDATE t SET v='x' WHERE id=1; UPDATE t SET z=NULL WHERE id=2; DELETE FROM t; UPDATE w "
        "SET v=2");
    expect_events(f, "UPDATE t {\"id\":1} {\"id\":1,\"v\":\"a\",\"z\":7} -> "
                     "{\"id\":1,\"v\":\"x\",\"z\":7}\ncommit\n"
                     "UPDATE t {\"id\":2} {\"id\":2,\"v\":\"b\",\"z\":7} -> "
                     "{\"id\":2,\"v\":\"b\",\"z\":null}\ncommit\n"
                     "DELETE t {\"id\":1} {\"id\":1,\"v\":\"x\",\"z\":7}\n"
                     "DELETE t {\"id\":2} {\"id\":2,\"v\":\"b\",\"z\":null}\n"
                     "DELETE t {\"id\":3} {\"id\":3,\"v\":\"c\",\"z\":7}\ncommit\n"
                     "UPDATE w {\"k\":\"k\"} {\"k\":\"k\",\"v\":1,\"z\":\"d\"} -> "
                     "{\"k\":\"k\",\"v\":2,\"z\":\"d\"}\ncommit\n");
}

static void extreme_values(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    forget_events(f);
    sql_ok(f, "INSERT INTO t(v) VALUES(9e999),(-9e999),(x''),(''),(x'00ff'),(CAST(x'610062' AS "
              "TEXT)),(CAST(x'ff' AS TEXT)),(-9223372036854775808)");
    expect_events(f, "INSERT t {\"id\":1} {\"id\":1,\"v\":9e999}\n"
                     "INSERT t {\"id\":2} {\"id\":2,\"v\":-9e999}\n"
                     "INSERT t {\"id\":3} {\"id\":3,\"v\":{\"$base64\":\"\"}}\n"
                     "INSERT t {\"id\":4} {\"id\":4,\"v\":\"\"}\n"
                     "INSERT t {\"id\":5} {\"id\":5,\"v\":{\"$base64\":\"AP8=\"}}\n"
                     "INSERT t {\"id\":6} {\"id\":6,\"v\":\"a\\u0000b\"}\n"
                     "INSERT t {\"id\":7} {\"id\":7,\"v\":\"\xef\xbf\xbd\"}\n"
                     "INSERT t {\"id\":8} {\"id\":8,\"v\":-9223372036854775808}\ncommit\n");
}

/* Under the default ABORT a failing statement undoes its own rows without a word. */
static void failing_statement(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO t VALUES(1,1)");
    forget_events(f);
    expect_starts(sql_error(f, "INSERT INTO t VALUES(2,2),(3,3),(4,1)"),
        "SQL_ERROR: UNIQUE constraint failed: t.u");
    expect_events(f, "");
    expect_rows(f, "SELECT * FROM t", "[[1,1]]");
}

static void or_fail_keeps_rows(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO t VALUES(1,1)");
    forget_events(f);
    assert_string_equal(sql_error(f, "INSERT OR FAIL INTO t VALUES(2,2),(3,3),(4,1)"),
        "SQL_ERROR: UNIQUE constraint failed: t.u seq=4");
    expect_events(f, "INSERT t {\"id\":2} {\"id\":2,\"u\":2}\n"
                     "INSERT t {\"id\":3} {\"id\":3,\"u\":3}\ncommit\n");
    expect_rows(f, "SELECT * FROM t", "[[1,1],[2,2],[3,3]]");
    /* Nothing was kept before the first row failed. */
    assert_string_equal(sql_error(f, "INSERT OR FAIL INTO t VALUES(4,1)"),
        "SQL_ERROR: UNIQUE constraint failed: t.u");
    expect_events(f, "");
}

/* Only a trigger's rows are kept: SQLite's count of changes is 0 then. */
static void fail_keeps_trigger_rows(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE); CREATE TABLE log(m);"
              "CREATE TRIGGER tr BEFORE INSERT ON t BEGIN INSERT INTO log VALUES(new.id); END;"
              "INSERT INTO t VALUES(1,1)");
    forget_events(f);
    assert_string_equal(sql_error(f, "INSERT OR FAIL INTO t VALUES(2,1)"),
        "SQL_ERROR: UNIQUE constraint failed: t.u seq=5");
    expect_events(f, "INSERT log {\"rowid\":2} {\"m\":2}\ncommit\n");
    expect_rows(f, "SELECT m FROM log", "[[1],[2]]");
    sql_ok(f,
        "DROP TRIGGER tr; CREATE TRIGGER tr AFTER INSERT ON t WHEN new.id>5 BEGIN INSERT INTO log "
        "VALUES(new.id); SELECT RAISE(FAIL,'no more'); END");
    forget_events(f);
    expect_starts(sql_error(f, "INSERT INTO t VALUES(6,6)"), "SQL_ERROR: no more seq=");
    expect_events(
        f, "INSERT t {\"id\":6} {\"id\":6,\"u\":6}\nINSERT log {\"rowid\":3} {\"m\":6}\ncommit\n");
    expect_rows(f, "SELECT count(*) FROM t", "[[2]]");
}

/* Inside a transaction SQLite would keep the first row of these; in autocommit it does not. */
static void datatype_mismatch(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,10),(2,'x')");
    forget_events(f);
    static const char *const conflicts[] = {"IGNORE", "REPLACE", "FAIL", "ABORT"};
    for (size_t i = 0; i < 4; i++) {
        char sql[64];
        snprintf(sql, sizeof(sql), "UPDATE OR %s t SET id=v", conflicts[i]);
        expect_starts(sql_error(f, sql), "SQL_ERROR: datatype mismatch");
        expect_events(f, "");
        expect_rows(f, "SELECT * FROM t", "[[1,10],[2,\"x\"]]");
    }
}

static void rollback_to_savepoint(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    forget_events(f);
    sql_ok(f,
        "BEGIN; INSERT INTO t VALUES(1,1); SAVEPOINT a; INSERT INTO t VALUES(2,2); SAVEPOINT b; "
        "INSERT INTO t VALUES(3,3); ROLLBACK TO A; INSERT INTO t VALUES(4,4); RELEASE a; COMMIT");
    expect_events(f, "INSERT t {\"id\":1} {\"id\":1,\"v\":1}\n"
                     "INSERT t {\"id\":4} {\"id\":4,\"v\":4}\ncommit\n");
    expect_rows(f, "SELECT id FROM t", "[[1],[4]]");
    /* RELEASE of the outermost savepoint is a commit. */
    sql_ok(f,
        "SAVEPOINT a; INSERT INTO t VALUES(5,5); SAVEPOINT a; INSERT INTO t VALUES(6,6); RELEASE "
        "a; RELEASE a; INSERT INTO t VALUES(7,7)");
    expect_events(f, "INSERT t {\"id\":5} {\"id\":5,\"v\":5}\n"
                     "INSERT t {\"id\":6} {\"id\":6,\"v\":6}\ncommit\n"
                     "INSERT t {\"id\":7} {\"id\":7,\"v\":7}\ncommit\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(plain_changes),
        TEST(without_rowid_and_replace),
        TEST(truncation),
        TEST(silent_statements),
        TEST(transfer),
        TEST(triggers_and_cascades),
        TEST(shadow_tables),
        TEST(nothing_changed),
        TEST(moved_keys),
        TEST(moved_rowid_behind_a_key),
        TEST(generated_columns),
        TEST(integers_of_real_columns),
        TEST(large_integers),
        TEST(added_columns),
        TEST(extreme_values),
        TEST(failing_statement),
        TEST(or_fail_keeps_rows),
        TEST(fail_keeps_trigger_rows),
        TEST(datatype_mismatch),
        TEST(rollback_to_savepoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
