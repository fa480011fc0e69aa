#include "fixture.h"

#include "base/clock.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* What is run for those who may not block: database_run. */

#define FOREVER "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT max(i) FROM n"

struct asked {
    struct sql_request r;
    pthread_t thread; /* that it ended on */
    atomic_bool done;
    int64_t done_ns;
};

static void note_done(struct sql_request *r)
{
    struct asked *a = r->ctx;
    a->thread = pthread_self();
    a->done_ns = clock_mono_ns();
    atomic_store(&a->done, true);
}

static void ask(struct fixture *f, struct asked *a, const char *sql)
{
    memset(a, 0, sizeof(*a));
    a->r.done = note_done;
    a->r.ctx = a;
    assert_non_null(sql_request_add(&a->r, sql, strlen(sql)));
    database_run(f->db, &a->r);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* The answer's beginning, or "CODE: message". */
static void expect_end(struct asked *a, const char *expected)
{
    char text[1024];
    for (int i = 0; !atomic_load(&a->done) && i < 10000; i++)
        pause_ms(1);
    assert_true(atomic_load(&a->done));
    assert_false(pthread_equal(a->thread, pthread_self()));
    if (a->r.error.code[0])
        snprintf(text, sizeof(text), "%s: %s", a->r.error.code, a->r.error.message);
    else
        snprintf(text, sizeof(text), "%s", buf_text(&a->r.json));
    expect_starts(text, expected);
    sql_request_fini(&a->r);
}

static void reads_and_writes(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    forget_events(f);
    ask(f, &a, "INSERT INTO t(v) VALUES('a') RETURNING v");
    expect_end(&a, "{\"columns\":[\"v\"],\"rows\":[[\"a\"]],\"changes\":1,\"lastInsertRowid\":1");
    expect_events(f, "INSERT t {\"id\":1} {\"id\":1,\"v\":\"a\"}\ncommit\n");
    ask(f, &a, "SELECT * FROM t");
    expect_end(&a, "{\"columns\":[\"id\",\"v\"],\"rows\":[[1,\"a\"]],\"changes\":0");
    ask(f, &a, "WITH x AS (SELECT 7) INSERT INTO t SELECT 7, 'seven'");
    expect_end(&a, "{\"columns\":[],\"rows\":[],\"changes\":1");
    expect_events(f, "INSERT t {\"id\":7} {\"id\":7,\"v\":\"seven\"}\ncommit\n");
    ask(f, &a, "SELECT nope");
    expect_end(&a, "SQL_ERROR: no such column: nope");
    ask(f, &a, "");
    expect_end(&a, "INVALID_FORMAT: there is no statement in sql");
}

static void many_at_once(void **state)
{
    enum { MANY = 200 };
    struct fixture *f = *state;
    static struct asked all[MANY];
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    for (int i = 0; i < MANY; i++)
        ask(f, &all[i], i % 2 ? "SELECT 1" : "INSERT INTO t(v) VALUES(1)");
    for (int i = 0; i < MANY; i++)
        expect_end(&all[i], i % 2 ? "{\"columns\":[\"1\"],\"rows\":[[1]]" : "{\"columns\":[]");
    expect_rows(f, "SELECT count(*) FROM t", "[[100]]");
}

/* One thread, which is taken: the second waits, the third is one too many. */
static void bounds_and_cancel(void **state)
{
    struct fixture *f = *state;
    struct asked runs, waits, refused;
    fixture_close(f);
    f->options.query_threads = 1;
    f->options.query_queue = 2;
    fixture_open(f);
    ask(f, &runs, FOREVER);
    ask(f, &waits, FOREVER);
    ask(f, &refused, "SELECT 1");
    expect_end(&refused, "LIMIT_EXCEEDED: too many statements wait on this server");
    int64_t now = clock_mono_ns();
    atomic_store(&waits.r.cancel, true);
    expect_end(&waits, "QUERY_CANCELLED: the statement was cancelled before it began");
    assert_true(waits.done_ns - now < 500000000);
    now = clock_mono_ns();
    atomic_store(&runs.r.cancel, true);
    expect_end(&runs, "QUERY_CANCELLED: the statement was cancelled");
    assert_true(runs.done_ns - now < 500000000);
    ask(f, &runs, "SELECT 2");
    expect_end(&runs, "{\"columns\":[\"2\"]");
}

/* A cancelled write that has not begun is not done; and a running one is undone. */
static void cancelled_writes(void **state)
{
    struct fixture *f = *state;
    struct asked runs, waits;
    sql_ok(f, "CREATE TABLE t(v)");
    forget_events(f);
    ask(f, &runs, "INSERT INTO t " FOREVER);
    ask(f, &waits, "INSERT INTO t VALUES(1)");
    pause_ms(20);
    atomic_store(&waits.r.cancel, true);
    atomic_store(&runs.r.cancel, true);
    expect_end(&runs, "QUERY_CANCELLED: the statement was cancelled");
    expect_end(&waits, "QUERY_CANCELLED: the statement was cancelled before it began");
    expect_events(f, "");
}

/* SQLite counts the entries of a b-tree without coming by the progress handler. */
static void timeout_in_count(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    sql_ok(f, "CREATE TABLE t(v); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n "
              "LIMIT 20000) INSERT INTO t SELECT zeroblob(1000) FROM n");
    f->options.query_timeout_ms = 60;
    fixture_close(f);
    fixture_open(f);
    /* Some 20,000 pages, 150 times, in fewer steps than there are between two looks. */
    char sql[8192] = "SELECT 0";
    for (int i = 0; i < 150; i++)
        strcat(sql, ",(SELECT count(*) FROM t)");
    int64_t begun_ns = clock_mono_ns();
    ask(f, &a, sql);
    expect_end(&a, "QUERY_CANCELLED: the statement was stopped after 0.06 s");
    assert_true(a.done_ns - begun_ns < 1000000000);
}

static void ends_with_the_database(void **state)
{
    struct fixture *f = *state;
    struct asked read, write, late;
    sql_ok(f, "CREATE TABLE t(v)");
    forget_events(f);
    ask(f, &read, FOREVER);
    ask(f, &write, "INSERT INTO t VALUES(1)");
    assert_false(database_drain(f->db, 50));
    ask(f, &late, "SELECT 1");
    expect_end(&late, "QUERY_CANCELLED: the server shuts down");
    fixture_close(f);
    expect_end(&read, "QUERY_CANCELLED: the statement was stopped: the server shuts down");
    expect_end(&write, "{\"columns\":[],\"rows\":[],\"changes\":1");
    fixture_open(f);
    expect_rows(f, "SELECT v FROM t", "[[1]]");
    assert_true(database_drain(f->db, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_and_writes, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(many_at_once, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(bounds_and_cancel, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(cancelled_writes, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(timeout_in_count, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(ends_with_the_database, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests_name("runner", tests, NULL, NULL);
}
