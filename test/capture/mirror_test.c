#include "fixture.h"
#include "sqlite_memory.h"

#include "access/grant.h"
#include "base/mem.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* SQL of a role that may not see everything; the black-box tests have more of it. */

#define ANN "{\"sub\":\"ann\",\"role\":\"user\"}"
#define BOB "{\"sub\":\"bob\",\"role\":\"user\"}"

static const char policy_text[] = "{\"roles\":{\"user\":{\"sql\":true,\"tables\":{"
                                  "\"notes\":{\"read\":[\"id\",\"owner\",\"v\"],\"write\":["
                                  "\"owner\",\"v\"],\"rows\":\"owner={sub}\"},"
                                  "\"free\":{\"read\":true,\"write\":true}}}}}";

static struct policy *policy;

static int set_up(void **state)
{
    struct buf err = {0};
    int status, rc = fixture_setup(state);

    policy = policy_parse(policy_text, strlen(policy_text), &err, &status);
    assert_non_null(policy);
    sql_ok(*state,
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, owner TEXT, v TEXT DEFAULT 'd', secret TEXT);"
        "CREATE TABLE free(id INTEGER PRIMARY KEY, v); CREATE TABLE pay(x);"
        "CREATE INDEX by_v ON notes(v);"
        "INSERT INTO notes VALUES (1,'ann','a','x'),(2,'bob','b','y'),(3,'ann','c','z')");
    forget_events(*state);
    return rc;
}

static int tear_down(void **state)
{
    policy_unref(policy);
    return fixture_teardown(state);
}

/* Its answer from "columns" on without the time, or the error: "CODE: message". */
static const char *run(struct fixture *f, const char *claims, const char *sql)
{
    static char text[4096];
    struct sql_request r = {0};
    struct identity *who = identity_new(json_loads(claims, 0, NULL), 0);
    char *end;

    assert_non_null(who);
    assert_non_null(sql_request_add(&r, sql, strlen(sql)));
    sql_request_restrict(&r, policy, who);
    database_execute(f->db, &r);
    if (r.error.code[0])
        snprintf(text, sizeof(text), "%s: %s", r.error.code, r.error.message);
    else
        snprintf(text, sizeof(text), "%.*s", (int)r.json.len, r.json.data);
    end = strstr(text, ",\"changes\"");
    if (end)
        *end = 0;
    sql_request_fini(&r);
    identity_unref(who);
    return text;
}

#define ROWS(x) "{\"columns\":[\"id\",\"owner\",\"v\"],\"rows\":" x

static void test_reads(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(
        run(f, ANN, "SELECT * FROM notes"), ROWS("[[1,\"ann\",\"a\"],[3,\"ann\",\"c\"]]"));
    assert_string_equal(run(f, BOB, "SELECT * FROM notes"), ROWS("[[2,\"bob\",\"b\"]]"));
    assert_string_equal(run(f, ANN, "SELECT * FROM notes WHERE v='b'"), ROWS("[]"));
    assert_string_equal(
        run(f, ANN, "SELECT * FROM notes WHERE id=3 OR v='b'"), ROWS("[[3,\"ann\",\"c\"]]"));
    assert_string_equal(run(f, "{\"role\":\"user\"}", "SELECT count(*) FROM notes"),
        "{\"columns\":[\"count(*)\"],\"rows\":[[0]]");
    assert_string_equal(
        run(f, ANN, "SELECT secret FROM notes"), "SQL_ERROR: no such column: secret");
    assert_string_equal(run(f, ANN, "SELECT * FROM pay"), "SQL_ERROR: no such table: pay");
    assert_string_equal(run(f, ANN, "SELECT * FROM nosuch"), "SQL_ERROR: no such table: nosuch");
    expect_events(f, "");
}

static void test_writes(void **state)
{
    struct fixture *f = *state;

    run(f, ANN, "INSERT INTO notes(owner) VALUES('ann')");
    run(f, ANN, "UPDATE notes SET v='u'");
    run(f, ANN, "DELETE FROM notes WHERE id<4");
    assert_string_equal(run(f, ANN, "UPDATE notes SET owner='bob'"),
        "FORBIDDEN: your role may not write such a row of notes");
    assert_string_equal(
        run(f, ANN, "BEGIN; DELETE FROM notes; INSERT INTO notes(owner) VALUES('x'); COMMIT"),
        "FORBIDDEN: your role may not write such a row of notes");
    expect_events(f,
        "INSERT notes {\"id\":4} {\"id\":4,\"owner\":\"ann\",\"v\":\"d\",\"secret\":null}\n"
        "commit\n"
        "UPDATE notes {\"id\":1} {\"id\":1,\"owner\":\"ann\",\"v\":\"a\",\"secret\":\"x\"} -> "
        "{\"id\":1,\"owner\":\"ann\",\"v\":\"u\",\"secret\":\"x\"}\n"
        "UPDATE notes {\"id\":3} {\"id\":3,\"owner\":\"ann\",\"v\":\"c\",\"secret\":\"z\"} -> "
        "{\"id\":3,\"owner\":\"ann\",\"v\":\"u\",\"secret\":\"z\"}\n"
        "UPDATE notes {\"id\":4} {\"id\":4,\"owner\":\"ann\",\"v\":\"d\",\"secret\":null} -> "
        "{\"id\":4,\"owner\":\"ann\",\"v\":\"u\",\"secret\":null}\n"
        "commit\n"
        "DELETE notes {\"id\":1} {\"id\":1,\"owner\":\"ann\",\"v\":\"u\",\"secret\":\"x\"}\n"
        "DELETE notes {\"id\":3} {\"id\":3,\"owner\":\"ann\",\"v\":\"u\",\"secret\":\"z\"}\n"
        "commit\n");
}

/* Where the columns of an INSERT stand, however it is written. */
static void test_insert_lists(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {
        "INSERT INTO notes(owner) VALUES('ann')",
        "INSERT INTO main.notes(owner)SELECT 'ann'",
        "insert or abort into \"notes\" as n (\"OWNER\") values('ann')",
        "WITH a(x) AS (SELECT 'ann') INSERT INTO [notes] ([owner]) SELECT x FROM a",
        "WITH into_(x) AS (SELECT 'ann'), replace AS (SELECT 1) INSERT /* (v) */ INTO notes -- "
        "(v)\n"
        "(`owner`) SELECT x FROM into_, replace",
        "INSERT INTO notes('owner') VALUES('ann')",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        const char *answer = run(f, ANN, texts[i]);

        if (strncmp(answer, "{\"columns\":[]", 13) != 0)
            fail_msg("%s: %s", texts[i], answer);
        expect_rows(f, "SELECT owner, v FROM notes WHERE id=(SELECT max(id) FROM notes)",
            "[[\"ann\",\"d\"]]");
    }
    run(f, ANN, "INSERT INTO notes(owner, v) VALUES('ann', NULL)");
    expect_rows(f, "SELECT v FROM notes WHERE id=(SELECT max(id) FROM notes)", "[[null]]");
    run(f, ANN, "INSERT INTO free DEFAULT VALUES");
    run(f, ANN, "INSERT INTO free VALUES(NULL,5),(9,6)");
    expect_rows(f, "SELECT * FROM free", "[[1,null],[2,5],[9,6]]");
}

static void test_schema_changes(void **state)
{
    struct fixture *f = *state;

    run(f, ANN, "SELECT * FROM free");
    sql_ok(f, "ALTER TABLE free ADD COLUMN w; DROP TABLE notes");
    assert_string_equal(
        run(f, ANN, "SELECT * FROM free"), "{\"columns\":[\"id\",\"v\",\"w\"],\"rows\":[]");
    assert_string_equal(run(f, ANN, "SELECT * FROM notes"), "SQL_ERROR: no such table: notes");
    assert_string_equal(
        run(f, ANN, "INSERT INTO notes VALUES(1)"), "SQL_ERROR: no such table: notes");
}

static void rows_of(char out[256], struct fixture *f, const char *sql)
{
    const char *rows = strstr(sql_ok(f, sql), "[[");

    snprintf(out, 256, "%.*s", (int)strcspn(rows, "}"), rows);
    *strstr(out, ",\"changes\"") = 0;
}

/* Every allocation fails once: either all of it happens or nothing. */
static void sweep(struct fixture *f, bool fresh, const char *sql, const char *check)
{
    for (long n = 0, done = 0; !done; n++) {
        struct sql_request r = {0};
        struct identity *who = identity_new(json_loads(ANN, 0, NULL), 0);
        char before[256], after[256];

        rows_of(before, f, check);
        assert_non_null(sql_request_add(&r, sql, strlen(sql)));
        sql_request_restrict(&r, policy, who);
        if (fresh) /* another mirror each time */
            sql_ok(f, "CREATE TABLE other(x); DROP TABLE other");
        mem_fail_after(n);
        database_execute(f->db, &r);
        done = !mem_fail_hit();
        mem_fail_after(-1);
        assert_true(done ? !r.error.code[0] : true);
        rows_of(after, f, check);
        if (r.error.code[0] && !strstr(r.error.message, "the work was done"))
            assert_string_equal(before, after);
        sql_request_fini(&r);
        identity_unref(who);
        assert_true(n < 20000);
    }
}

static void test_allocation_failures(void **state)
{
    struct fixture *f = *state;

    f->quiet = true;
    sweep(f, true, "SELECT * FROM notes a JOIN notes b ON a.id=b.id WHERE a.v>='a'",
        "SELECT count(*) FROM notes");
    sweep(f, false,
        "BEGIN; INSERT INTO notes(owner) VALUES('ann'),('ann'); UPDATE notes SET v='x' WHERE id=1; "
        "DELETE FROM notes WHERE id>5; COMMIT",
        "SELECT count(*), max(v) FROM notes");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_reads),
        TEST(test_writes),
        TEST(test_insert_lists),
        TEST(test_schema_changes),
        TEST(test_allocation_failures),
    };

    return sqlite_memory_counts() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
