#include "fixture.h"

#include <stdio.h>
#include <string.h>

/* Scripts, transactions, parameters, refusals and errors, as a client meets them. */

static void one_commit_per_statement(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    forget_events(f);
    sql_ok(f, "INSERT INTO t VALUES(1); BEGIN; INSERT INTO t VALUES(2); INSERT INTO t VALUES(3); "
              "END; INSERT INTO t VALUES(4)");
    expect_events(f, "INSERT t {\"id\":1} {\"id\":1}\ncommit\n"
                     "INSERT t {\"id\":2} {\"id\":2}\nINSERT t {\"id\":3} {\"id\":3}\ncommit\n"
                     "INSERT t {\"id\":4} {\"id\":4}\ncommit\n");
    assert_string_equal(sql_ok(f, "INSERT INTO t VALUES(9); SELECT count(*) AS n FROM t; -- done"),
        "{\"columns\":[\"n\"],\"rows\":[[5]],\"changes\":0,\"lastInsertRowid\":9,\"seq\":6}");
}

static void first_error_stops(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    forget_events(f);
    assert_string_equal(
        sql_error(f, "INSERT INTO t VALUES(1); SELECT nope; INSERT INTO t VALUES(2)"),
        "SQL_ERROR: no such column: nope @1 seq=2");
    expect_events(f, "INSERT t {\"id\":1} {\"id\":1}\ncommit\n");
    assert_string_equal(
        sql_error(f, "BEGIN; INSERT INTO t VALUES(3); INSERT INTO t VALUES(1); COMMIT"),
        "SQL_ERROR: UNIQUE constraint failed: t.id @2");
    assert_string_equal(sql_error(f, "BEGIN; INSERT INTO t VALUES(3)"),
        "SQL_ERROR: the script left a transaction open; it was rolled back: add COMMIT @1");
    assert_string_equal(sql_error(f, "SAVEPOINT a; INSERT INTO t VALUES(3)"),
        "SQL_ERROR: the script left a transaction open; it was rolled back: add COMMIT @1");
    expect_events(f, "");
    expect_rows(f, "SELECT * FROM t", "[[1]]");
}

static void transaction_control(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(
        sql_error(f, "COMMIT"), "SQL_ERROR: cannot commit - no transaction is active");
    assert_string_equal(
        sql_error(f, "ROLLBACK"), "SQL_ERROR: cannot rollback - no transaction is active");
    assert_string_equal(sql_error(f, "BEGIN; BEGIN"),
        "SQL_ERROR: cannot start a transaction within a transaction @1");
    assert_string_equal(sql_error(f, "RELEASE x"), "SQL_ERROR: no such savepoint: x");
    expect_starts(
        sql_error(f, "SAVEPOINT rowtap_unit"), "FORBIDDEN: the savepoint name rowtap_unit");
    expect_starts(sql_error(f, "BEGIN; VACUUM; COMMIT"),
        "SQL_ERROR: cannot VACUUM from within a transaction @1");
}

static void statements_are_one_transaction(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    forget_events(f);
    assert_string_equal(
        transaction_ok(f, (const char *[]){"INSERT INTO t VALUES(1,'a')", "SELECT v FROM t", NULL}),
        "{\"results\":[{\"columns\":[],\"rows\":[],\"changes\":1,\"lastInsertRowid\":1},"
        "{\"columns\":[\"v\"],\"rows\":[[\"a\"]],\"changes\":0,\"lastInsertRowid\":1}],\"seq\":2}");
    expect_events(f, "INSERT t {\"id\":1} {\"id\":1,\"v\":\"a\"}\ncommit\n");
    assert_string_equal(
        transaction_error(f, (const char *[]){"INSERT INTO t VALUES(2,'b')",
                                 "INSERT OR FAIL INTO t VALUES(3,'c'),(1,'d')", NULL}),
        "SQL_ERROR: UNIQUE constraint failed: t.id @1");
    expect_starts(
        transaction_error(f, (const char *[]){"INSERT INTO t VALUES(2,'b')", "COMMIT", NULL}),
        "FORBIDDEN: BEGIN, COMMIT and ROLLBACK are refused here");
    transaction_ok(f, (const char *[]){"SAVEPOINT a", "INSERT INTO t VALUES(5,5)", "ROLLBACK TO a",
                          "RELEASE a", NULL});
    expect_events(f, "");
    expect_rows(f, "SELECT id FROM t", "[[1]]");
    assert_string_equal(transaction_ok(f, (const char *[]){"SELECT 1", "SELECT 2", NULL}),
        "{\"results\":[{\"columns\":[\"1\"],\"rows\":[[1]],\"changes\":0,\"lastInsertRowid\":0},"
        "{\"columns\":[\"2\"],\"rows\":[[2]],\"changes\":0,\"lastInsertRowid\":0}],\"seq\":2}");
}

static void deferred_keys(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p DEFERRABLE "
              "INITIALLY DEFERRED)");
    forget_events(f);
    expect_starts(
        sql_error(f, "INSERT INTO c VALUES(1)"), "SQL_ERROR: FOREIGN KEY constraint failed");
    expect_starts(sql_error(f, "BEGIN; INSERT INTO c VALUES(1); COMMIT"),
        "SQL_ERROR: FOREIGN KEY constraint failed @2");
    expect_events(f, "");
    sql_ok(f, "BEGIN; INSERT INTO c VALUES(1); INSERT INTO p VALUES(1); COMMIT");
    sql_ok(f, "CREATE TABLE d(p REFERENCES p)");
    forget_events(f);
    sql_ok(f, "BEGIN; PRAGMA defer_foreign_keys=ON; INSERT INTO d VALUES(2); INSERT INTO p "
              "VALUES(2); COMMIT");
    expect_starts(sql_error(f, "BEGIN; INSERT INTO d VALUES(3); INSERT INTO p VALUES(3); COMMIT"),
        "SQL_ERROR: FOREIGN KEY constraint failed @1");
}

static void or_rollback(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    forget_events(f);
    assert_string_equal(
        sql_error(f, "INSERT INTO t VALUES(1); INSERT OR ROLLBACK INTO t VALUES(2),(1)"),
        "SQL_ERROR: UNIQUE constraint failed: t.id @1 seq=2");
    assert_string_equal(
        sql_error(f, "BEGIN; INSERT INTO t VALUES(5); INSERT OR ROLLBACK INTO t VALUES(1); COMMIT"),
        "SQL_ERROR: UNIQUE constraint failed: t.id @2");
    expect_events(f, "INSERT t {\"id\":1} {\"id\":1}\ncommit\n");
    expect_rows(f, "SELECT * FROM t", "[[1]]");
}

static const char *bound(struct fixture *f, const char *sql, const char *const *names,
    const struct value *values, int count)
{
    static char text[1024];
    struct sql_request r = {0};
    struct sql_statement *s = sql_request_add(&r, sql, strlen(sql));
    for (int i = 0; i < count; i++)
        sql_statement_bind(s, names ? names[i] : NULL, &values[i]);
    database_execute(f->db, &r);
    if (r.error.code[0])
        snprintf(text, sizeof(text), "%s: %s", r.error.code, r.error.message);
    else
        snprintf(text, sizeof(text), "%.*s", (int)r.json.len, r.json.data);
    sql_request_fini(&r);
    return text;
}

static void parameters(void **state)
{
    struct fixture *f = *state;
    const struct value v[] = {{.type = VALUE_INTEGER, .i = 7},
        {.type = VALUE_TEXT, .p = "a\0b", .len = 3}, {.type = VALUE_BLOB, .p = "", .len = 0}};
    expect_starts(bound(f, "SELECT ?,?,?", NULL, v, 3),
        "{\"columns\":[\"?\",\"?\",\"?\"],\"rows\":[[7,\"a\\u0000b\",{\"$base64\":\"\"}]]");
    assert_string_equal(bound(f, "SELECT ?", NULL, v, 2),
        "INVALID_FORMAT: the SQL takes 1 parameter but 2 were given");
    assert_string_equal(bound(f, "SELECT ?1,?3", NULL, v, 1),
        "INVALID_FORMAT: the SQL takes 3 parameters but 1 was given");
    expect_starts(bound(f, "SELECT ':x', ? -- ?\n", NULL, v, 1), "{\"columns\"");
    const char *const names[] = {"a", ":b", "$c"};
    expect_starts(bound(f, "SELECT :a AS x,@b AS y,$c AS z", names, v, 3),
        "{\"columns\":[\"x\",\"y\",\"z\"],\"rows\":[[7,\"a\\u0000b\",{\"$base64\":\"\"}]]");
    assert_string_equal(
        bound(f, "SELECT :a", names, v, 2), "INVALID_FORMAT: the SQL has no parameter :b");
    assert_string_equal(
        bound(f, "SELECT :a,:n", names, v, 1), "INVALID_FORMAT: the parameter :n was not given");
    expect_starts(
        bound(f, "SELECT ?", names, v, 1), "INVALID_FORMAT: the SQL has a parameter by position");
    sql_ok(f, "CREATE TABLE t(a)");
    forget_events(f);
    expect_starts(bound(f, "INSERT INTO t VALUES(?); INSERT INTO t VALUES(?2)", NULL, v, 3), "{");
    expect_events(f, "INSERT t {\"rowid\":1} {\"a\":7}\ncommit\n"
                     "INSERT t {\"rowid\":2} {\"a\":{\"$base64\":\"\"}}\ncommit\n");
}

#define BATCH 3000

/* INSERT INTO t(v) VALUES(?),(?),… with a comment, and its values: their number is in each. */
static const char *insert_batch(struct fixture *f, int rows, int given, int number)
{
    static struct value values[BATCH + 1];
    struct buf sql = {0};
    buf_printf(&sql, "INSERT INTO t(v) /* %d */ VALUES", number % 100);
    for (int i = 0; i < rows; i++)
        buf_puts(&sql, i ? ",(?)" : "(?)");
    for (int i = 0; i < given; i++)
        values[i] = (struct value){.type = VALUE_INTEGER, .i = (int64_t)number * BATCH + i};
    const char *answer = bound(f, buf_text(&sql), NULL, values, given);
    buf_fini(&sql);
    return answer;
}

static void batch_is_there(struct fixture *f, int number)
{
    char sql[160];
    snprintf(sql, sizeof(sql),
        "SELECT count(*),min(v),max(v) FROM (SELECT v FROM t ORDER BY id DESC LIMIT %d)", BATCH);
    char rows[80];
    snprintf(rows, sizeof(rows), "[[%d,%d,%d]]", BATCH, number * BATCH, number * BATCH + BATCH - 1);
    expect_rows(f, sql, rows);
}

/* The statement of a batch stays prepared, which nobody may notice. */
static void batches(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    f->quiet = true;
    for (int i = 0; i < 3; i++) {
        expect_starts(insert_batch(f, BATCH, BATCH, 100 * i), "{\"columns\":[],\"rows\":[],");
        batch_is_there(f, 100 * i);
        assert_int_equal(fixture_seq(f), (uint64_t)BATCH * (i + 1) + 1);
        assert_string_equal(insert_batch(f, BATCH, BATCH - 1, 100 * i),
            "INVALID_FORMAT: the SQL takes 3000 parameters but 2999 were given");
        assert_string_equal(insert_batch(f, BATCH, BATCH + 1, 100 * i),
            "INVALID_FORMAT: the SQL takes 3000 parameters but 3001 were given");
    }
    sql_ok(f, "ALTER TABLE t ADD COLUMN w DEFAULT 5");
    insert_batch(f, BATCH, BATCH, 300);
    batch_is_there(f, 300);
    sql_ok(f, "CREATE UNIQUE INDEX once ON t(v)");
    expect_starts(insert_batch(f, BATCH, BATCH, 300), "SQL_ERROR: UNIQUE constraint failed: t.v");
    sql_ok(f, "ALTER TABLE t RENAME TO u");
    expect_starts(insert_batch(f, BATCH, BATCH, 400), "SQL_ERROR: no such table: t");
    sql_ok(f, "ALTER TABLE u RENAME TO t");
    insert_batch(f, BATCH, BATCH, 400);
    batch_is_there(f, 400);
    expect_rows(f, "SELECT count(*),count(DISTINCT v) FROM t WHERE w=5", "[[15000,15000]]");
}

/* More of them than are kept. */
static void many_batches(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    f->quiet = true;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 20; i++) {
            expect_starts(insert_batch(f, BATCH, BATCH, 100 * round + i), "{");
            batch_is_there(f, 100 * round + i);
        }
    assert_int_equal(fixture_seq(f), (uint64_t)BATCH * 40 + 1);
}

static void refusals(void **state)
{
    struct fixture *f = *state;
    static const char *const refused[] = {"ATTACH 'x' AS y", "ATTACH '' AS y", "DETACH y",
        "CREATE TEMP TABLE t(a)", "CREATE TEMP VIEW v AS SELECT 1", "CREATE TABLE temp.t(a)",
        "CREATE VIRTUAL TABLE temp.t USING fts5(a)", "PRAGMA journal_mode=DELETE",
        "PRAGMA writable_schema=ON", "PRAGMA foreign_keys=OFF", "PRAGMA locking_mode=EXCLUSIVE",
        "PRAGMA mmap_size=0", "PRAGMA schema_version=7", "PRAGMA main.synchronous=0",
        "PRAGMA max_page_count=1", "PRAGMA temp_store_directory='/'",
        "VACUUM INTO '/tmp/rowtap-into'", "CREATE TABLE rowtap_x(a)",
        "CREATE TABLE a(a); ALTER TABLE a RENAME TO rowtap_a", "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('x', x'00')", "SELECT * FROM pragma_writable_schema", NULL};
    for (int i = 0; refused[i]; i++) {
        const char *error = sql_error(f, refused[i]);
        if (strncmp(error, "FORBIDDEN: ", 11) != 0 && !strstr(error, "no such table"))
            fail_msg("%s: %s", refused[i], error);
    }
    static const char *const allowed[] = {"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA user_version=3", "PRAGMA user_version", "PRAGMA optimize", "PRAGMA journal_mode",
        "PRAGMA integrity_check", "PRAGMA table_info(a)", "EXPLAIN VACUUM", "EXPLAIN BEGIN",
        "EXPLAIN INSERT INTO a VALUES(1)", "SELECT * FROM pragma_table_info('a')", "REINDEX",
        "PRAGMA incremental_vacuum", "ANALYZE", NULL};
    for (int i = 0; allowed[i]; i++)
        sql_ok(f, allowed[i]);
    expect_events(f, "table:created a\ncommit\n");
    assert_string_equal(
        sql_error(f, " ; -- nothing\n"), "INVALID_FORMAT: there is no statement in sql");
    expect_starts(sql_error(f, "SELEC 1"), "SQL_ERROR: near \"SELEC\": syntax error");
}

static void limits(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->options.query_timeout_ms = 100;
    f->options.max_result = 1000;
    f->options.max_transaction = 20000;
    fixture_open(f);
    static const char endless[] =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n";
    expect_starts(sql_error(f, endless),
        "QUERY_CANCELLED: the statement was stopped after 0.1 s; --query-timeout");
    sql_ok(f, "CREATE TABLE t(a)");
    forget_events(f);
    expect_starts(
        sql_error(f,
            "INSERT INTO t VALUES(1); INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION "
            "ALL SELECT i+1 FROM n) SELECT i FROM n WHERE i<0"),
        "QUERY_CANCELLED: the statement was stopped after 0.1 s");
    expect_events(f, "INSERT t {\"rowid\":1} {\"a\":1}\ncommit\n");
    expect_starts(
        sql_error(f, "SELECT hex(zeroblob(1000))"), "TOO_LARGE: the result is larger than 1000");
    expect_starts(
        sql_error(f, "INSERT INTO t VALUES(2) RETURNING hex(zeroblob(1000))"), "TOO_LARGE");
    expect_events(f, "");
    expect_starts(sql_error(f, "INSERT INTO t VALUES(zeroblob(30000))"),
        "TOO_LARGE: the transaction changes more than 20000 bytes of rows, which "
        "--max-transaction");
    expect_starts(sql_error(f, "CREATE TABLE c AS SELECT zeroblob(30000) AS z"), "TOO_LARGE");
    expect_rows(f, "SELECT count(*) FROM t", "[[1]]");
    sql_ok(f,
        "INSERT INTO t VALUES(zeroblob(5000)); INSERT INTO t VALUES(zeroblob(9000)); INSERT INTO "
        "t VALUES(zeroblob(9000))");
    expect_rows(f, "SELECT count(*) FROM t", "[[4]]");
}

static void cancelled(void **state)
{
    struct fixture *f = *state;
    struct sql_request r = {0};
    static const char sql[] =
        "SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
        "i+1 FROM n) SELECT * FROM n)";
    sql_request_add(&r, sql, sizeof(sql) - 1);
    atomic_store(&r.cancel, true);
    database_execute(f->db, &r);
    assert_string_equal(r.error.code, "QUERY_CANCELLED");
    sql_request_fini(&r);
}

/* A cached statement is prepared again by SQLite when the schema moved. */
static void schema_moves_under_cache(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    for (int i = 0; i < 3; i++) {
        sql_ok(f, "INSERT INTO t(a) VALUES(1)");
        sql_ok(f, "SELECT * FROM t LIMIT 1");
        sql_ok(f, i == 0 ? "ALTER TABLE t ADD COLUMN b DEFAULT 2"
                         : "CREATE INDEX IF NOT EXISTS i ON t(a)");
    }
    expect_starts(
        sql_ok(f, "SELECT * FROM t LIMIT 1"), "{\"columns\":[\"a\",\"b\"],\"rows\":[[1,2]]");
}

static bool swiftly(struct fixture *f, const char *sql, struct sql_request *r)
{
    struct database_turn *turn = database_turn_new();
    assert_non_null(turn);
    assert_non_null(sql_request_add(r, sql, strlen(sql)));
    bool was = database_execute_swiftly(f->db, turn, r);
    database_turn_end(f->db, turn);
    database_turn_free(turn);
    return was;
}

static void not_swiftly(struct fixture *f, const char *sql)
{
    struct sql_request r = {0};
    if (swiftly(f, sql, &r))
        fail_msg("%s", sql);
    assert_false(r.only_read);
    sql_request_fini(&r);
}

/* What is not read in a moment has to be asked for otherwise, and nothing has become of it. */
static void swift(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a INTEGER PRIMARY KEY); INSERT INTO t VALUES(1),(2)");
    forget_events(f);
    struct sql_request r = {0};
    assert_true(swiftly(f, "SELECT a FROM t", &r));
    assert_true(r.only_read);
    expect_starts(buf_text(&r.json), "{\"columns\":[\"a\"],\"rows\":[[1],[2]],");
    sql_request_fini(&r);
    not_swiftly(f, "INSERT INTO t VALUES(3)");
    not_swiftly(f, "SELECT 1; DELETE FROM t");
    not_swiftly(f, "WITH x(b) AS (SELECT 5) INSERT INTO t SELECT b FROM x");
    not_swiftly(f, "SELECT nope");
    not_swiftly(f, "SELECT abs(-9223372036854775807-1)");
    not_swiftly(f, "SELECT zeroblob(60000)");
    not_swiftly(f, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<2000000) "
                   "SELECT count(*) FROM c");
    expect_events(f, "");
    expect_rows(f, "SELECT a FROM t", "[[1],[2]]");
    r = (struct sql_request){0};
    assert_false(swiftly(f,
        "SELECT a FROM t WHERE a<(WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL "
        "SELECT i+1 FROM c WHERE i<2000000) SELECT count(*) FROM c)",
        &r));
    database_execute(f->db, &r);
    assert_string_equal(r.error.code, "");
    expect_starts(buf_text(&r.json), "{\"columns\":[\"a\"],\"rows\":[[1],[2]],");
    sql_request_fini(&r);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(one_commit_per_statement),
        TEST(first_error_stops),
        TEST(transaction_control),
        TEST(statements_are_one_transaction),
        TEST(deferred_keys),
        TEST(or_rollback),
        TEST(parameters),
        TEST(batches),
        TEST(many_batches),
        TEST(refusals),
        TEST(limits),
        TEST(cancelled),
        TEST(schema_moves_under_cache),
        TEST(swift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
