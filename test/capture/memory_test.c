#include "asker.h"
#include "sqlite_memory.h"

#include "base/mem.h"
#include "base/status.h"
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

/*
 * The Nth allocation fails, for every N: a request then either succeeds, with its events, or fails
 * and leaves nothing behind; and the next one works.
 */
#define MOST_ALLOCATIONS 20000

static int count_rows(struct fixture *f)
{
    int count;
    const char *rows = strstr(sql_ok(f, "SELECT count(*) FROM t"), "[[");
    assert_int_equal(sscanf(rows, "[[%d]]", &count), 1);
    return count;
}

static void sweep(struct fixture *f, const char *script, bool transaction)
{
    for (long n = 0;; n++) {
        struct sql_request r = {.transaction = transaction};
        struct sql_statement *s = sql_request_add(&r, script, strlen(script));
        assert_non_null(s);
        assert_int_equal(sql_statement_bind(s, "text",
                             &(struct value){.type = VALUE_TEXT, .p = "long text", .len = 9}),
            0);
        int before = count_rows(f);
        uint64_t events = f->seq;
        mem_fail_after(n);
        database_execute(f->db, &r);
        bool hit = mem_fail_hit();
        mem_fail_after(-1);
        int rows = count_rows(f) - before;
        if (r.error.code[0])
            assert_true(hit);
        if (!strstr(r.error.message, "the work was done"))
            assert_int_equal(rows, r.error.code[0] ? 0 : 3);
        /* Each insert is also undone by no event: rows and events go together. */
        assert_int_equal(f->seq - events, rows);
        sql_request_fini(&r);
        if (!hit)
            break;
        assert_true(n < MOST_ALLOCATIONS);
    }
}

static void insert(void **state)
{
    struct fixture *f = *state;
    f->quiet = true;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v, w DEFAULT 1)");
    sweep(f, "INSERT INTO t(v) VALUES(:text),(:text),(zeroblob(2000)) RETURNING *", false);
    sweep(f,
        "BEGIN; INSERT INTO t(v) VALUES(:text); SAVEPOINT a; INSERT INTO t(v) VALUES(:text),(1); "
        "RELEASE a; COMMIT",
        false);
    sweep(
        f, "SAVEPOINT b; INSERT INTO t(v) VALUES(:text); INSERT INTO t(v) VALUES(:text),(1)", true);
}

static void ddl(void **state)
{
    struct fixture *f = *state;
    f->quiet = true;
    for (long n = 0;; n++) {
        struct sql_request r = {0};
        static const char script[] =
            "BEGIN; CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t "
            "VALUES(1,2); ALTER TABLE t ADD COLUMN w DEFAULT 'x'; CREATE TABLE "
            "c AS SELECT * FROM t; COMMIT";
        assert_non_null(sql_request_add(&r, script, strlen(script)));
        uint64_t events = f->seq;
        mem_fail_after(n);
        database_execute(f->db, &r);
        bool hit = mem_fail_hit();
        mem_fail_after(-1);
        struct schema *s = database_schema(f->db);
        bool there = schema_find(s, "t", 1) != NULL;
        schema_unref(s);
        if (!strstr(r.error.message, "the work was done"))
            assert_int_equal(there, !r.error.code[0]);
        assert_int_equal(f->seq - events, there ? 4 : 0);
        sql_request_fini(&r);
        if (there)
            sql_ok(f, "DROP TABLE t; DROP TABLE c");
        if (!hit)
            break;
        assert_true(n < MOST_ALLOCATIONS);
    }
}

/* Either the rowids are as they were, or subscribers are told. */
static void vacuum(void **state)
{
    struct fixture *f = *state;
    f->quiet = true;
    sql_ok(f, "CREATE TABLE t(a); CREATE TABLE u(a)");
    for (long n = 0;; n++) {
        struct sql_request r = {0};
        sql_ok(f, "DELETE FROM t; INSERT INTO t(rowid) VALUES(3),(7)");
        assert_non_null(sql_request_add(&r, "VACUUM", 6));
        uint64_t seq = f->seq;
        mem_fail_after(n);
        database_execute(f->db, &r);
        bool hit = mem_fail_hit();
        mem_fail_after(-1);
        bool moved = strstr(sql_ok(f, "SELECT max(rowid) FROM t"), "[[2]]");
        assert_true(moved || r.error.code[0]);
        /* What the journal had no memory for comes with the next commit. */
        sql_ok(f, "DELETE FROM u");
        /* Where it cannot be looked, of both tables. */
        assert_in_range(f->seq - seq, moved, 2);
        sql_request_fini(&r);
        if (!hit)
            break;
        assert_true(n < MOST_ALLOCATIONS);
    }
}

static void open_and_close(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v DEFAULT 1)");
    fixture_close(f);
    for (long n = 0; n < MOST_ALLOCATIONS; n++) {
        struct buf err = {0};
        mem_fail_after(n);
        struct database *db = database_open(&f->options, &err);
        bool hit = mem_fail_hit();
        mem_fail_after(-1);
        if (db)
            database_close(db);
        buf_fini(&err);
        assert_true(db || hit);
        if (!hit)
            return;
    }
    fail_msg("still failing");
}

/* A snapshot from a search by an index: all rows, or a clean failure and nothing that stays. */
static void scan(void **state)
{
    struct fixture *f = *state;
    static const struct value params[] = {{.type = VALUE_TEXT, .p = "x", .len = 1}};
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v, w); CREATE INDEX tv ON t(v,w); "
              "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20) "
              "INSERT INTO t SELECT i, 'x', i||' and text' FROM n");
    for (long n = 0; n < MOST_ALLOCATIONS; n++) {
        struct asker a;
        asker_init(&a, f);
        a.scan.where = "v=?1\0w IS NOT NULL\0";
        a.scan.params = params;
        a.scan.param_count = 1;
        a.scan.page_bytes = 1000;
        uint64_t rows = 0;
        mem_fail_after(n);
        int status = asker_step(&a, SCAN_OPEN);
        if (status == STATUS_OK)
            a.scan.table = schema_find(a.scan.schema, "t", 1);
        while (status == STATUS_OK && (status = asker_step(&a, SCAN_PAGE)) == STATUS_OK) {
            rows += a.scan.batch->change_count;
            batch_unref(a.scan.batch);
            if (a.scan.last)
                break;
        }
        bool hit = mem_fail_hit();
        mem_fail_after(-1);
        asker_close(&a);
        asker_fini(&a);
        if (status == STATUS_OK)
            assert_int_equal(rows, 20);
        else
            assert_true(hit);
        assert_true(status == STATUS_OK || status == STATUS_NOMEM || status == STATUS_IO);
        if (!hit)
            return;
    }
    fail_msg("still failing");
}

static void past(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->options.journal = true;
    buf_reset(&f->all);
    fixture_open(f);
    sql_ok(f, "CREATE TABLE j(id INTEGER PRIMARY KEY, v); INSERT INTO j VALUES(1,'a'),(2,'b'); "
              "ALTER TABLE j ADD COLUMN w; INSERT INTO j VALUES(3,4,5)");
    for (long n = 0; n < MOST_ALLOCATIONS; n++) {
        struct asker a;
        asker_init(&a, f);
        mem_fail_after(n);
        int status = asker_past(&a, 0, 100000);
        bool hit = mem_fail_hit();
        mem_fail_after(-1);
        if (status == STATUS_OK)
            assert_int_equal(a.past.batch->change_count, 5);
        else
            assert_true(hit);
        batch_unref(a.past.batch);
        asker_fini(&a);
        if (!hit)
            return;
    }
    fail_msg("still failing");
}

static void request(void **state)
{
    (void)state;
    for (long n = 0; n < 20; n++) {
        struct sql_request r = {0};
        mem_fail_after(n);
        struct sql_statement *s = sql_request_add(&r, "SELECT :a", 9);
        if (s)
            sql_statement_bind(s, ":a", &(struct value){.type = VALUE_BLOB, .p = "x", .len = 1});
        mem_fail_after(-1);
        sql_request_fini(&r);
    }
}

int main(void)
{
    if (!sqlite_memory_counts())
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(insert),
        TEST(ddl),
        TEST(vacuum),
        TEST(open_and_close),
        TEST(scan),
        TEST(past),
        cmocka_unit_test(request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
