#include "fixture.h"

#include "base/mem.h"
#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Requests that share a commit: what one of them does must not be felt by the others. */

/* Holds the database thread inside publish, so that what is posted meanwhile becomes one group. */
static sem_t held, go_on;

static void hold(struct fixture *f, struct batch *b)
{
    (void)b;
    f->on_batch = NULL;
    sem_post(&held);
    sem_wait(&go_on);
}

static sem_t finished;

static void on_done(struct sql_request *r)
{
    (void)r;
    sem_post(&finished);
}

/* Runs these scripts as one group, in order, and writes down what each was answered. */
static void run_group(struct fixture *f, const char *const *sql, char *answers, size_t size)
{
    struct sql_request r[16];
    struct sql_request trigger = {.done = on_done};
    int count = 0;
    sem_init(&held, 0, 0);
    sem_init(&go_on, 0, 0);
    sem_init(&finished, 0, 0);
    sql_request_add(&trigger, "INSERT INTO hold VALUES(1)", 26);
    f->on_batch = hold;
    database_post(f->db, &trigger);
    sem_wait(&held);
    for (; sql[count]; count++) {
        r[count] = (struct sql_request){.done = on_done};
        sql_request_add(&r[count], sql[count], strlen(sql[count]));
        database_post(f->db, &r[count]);
    }
    sem_post(&go_on);
    for (int i = 0; i < count + 1; i++)
        sem_wait(&finished);
    *answers = 0;
    for (int i = 0; i < count; i++) {
        size_t len = strlen(answers);
        snprintf(answers + len, size - len, "%s%s\n",
            r[i].error.code[0] ? r[i].error.message : "ok",
            r[i].error.has_seq ? " (kept some)" : "");
        sql_request_fini(&r[i]);
    }
    sql_request_fini(&trigger);
    sem_destroy(&held);
    sem_destroy(&go_on);
    sem_destroy(&finished);
}

static int setup(void **state)
{
    fixture_setup(state);
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE hold(x); CREATE TABLE t(id INTEGER PRIMARY KEY);"
              "CREATE TABLE p(id INTEGER PRIMARY KEY); "
              "CREATE TABLE c(p REFERENCES p DEFERRABLE INITIALLY DEFERRED)");
    forget_events(f);
    return 0;
}

#define HOLD "INSERT hold {\"rowid\":1} {\"x\":1}\ncommit\n"

static void expect_group(
    struct fixture *f, const char *const *sql, const char *answers, const char *events)
{
    char text[4096];
    run_group(f, sql, text, sizeof(text));
    assert_string_equal(text, answers);
    expect_events(f, events);
}

static void share_a_commit(void **state)
{
    struct fixture *f = *state;
    struct database_stats before, after;
    database_stats(f->db, &before);
    expect_group(f,
        (const char *[]){"INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(2)",
            "INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(3)", NULL},
        "ok\nok\nUNIQUE constraint failed: t.id\nok\n",
        HOLD "INSERT t {\"id\":1} {\"id\":1}\ncommit\nINSERT t {\"id\":2} {\"id\":2}\ncommit\n"
             "INSERT t {\"id\":3} {\"id\":3}\ncommit\n");
    database_stats(f->db, &after);
    assert_int_equal(after.group_commits - before.group_commits, 2);
    assert_int_equal(after.commits - before.commits, 4);
    assert_int_equal(after.changes - before.changes, 4);
}

static void or_rollback_harms_nobody(void **state)
{
    expect_group(*state,
        (const char *[]){"INSERT INTO t VALUES(1)", "INSERT OR ROLLBACK INTO t VALUES(2),(1)",
            "INSERT INTO t VALUES(3)",
            "INSERT INTO t VALUES(4);INSERT OR ROLLBACK INTO t VALUES(1)",
            "INSERT INTO t VALUES(5)", NULL},
        "ok\nUNIQUE constraint failed: t.id\nok\nUNIQUE constraint failed: t.id (kept some)\nok\n",
        HOLD "INSERT t {\"id\":1} {\"id\":1}\ncommit\nINSERT t {\"id\":3} {\"id\":3}\ncommit\n"
             "INSERT t {\"id\":4} {\"id\":4}\ncommit\nINSERT t {\"id\":5} {\"id\":5}\ncommit\n");
}

static void deferred_key_harms_nobody(void **state)
{
    expect_group(*state,
        (const char *[]){
            "INSERT INTO p VALUES(1)", "INSERT INTO c VALUES(9)", "INSERT INTO c VALUES(1)", NULL},
        "ok\nFOREIGN KEY constraint failed\nok\n",
        HOLD "INSERT p {\"id\":1} {\"id\":1}\ncommit\nINSERT c {\"rowid\":1} {\"p\":1}\ncommit\n");
}

static void unknown_fate_and_vacuum(void **state)
{
    struct fixture *f = *state;
    sql_ok(f,
        "CREATE TRIGGER tr BEFORE INSERT ON t WHEN new.id<0 BEGIN INSERT INTO p VALUES(-new.id); "
        "SELECT RAISE(FAIL,'negative'); END");
    expect_group(f,
        (const char *[]){"INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(-5)",
            "INSERT INTO t VALUES(2)", "VACUUM", "INSERT INTO t VALUES(3)", NULL},
        "ok\nnegative (kept some)\nok\nok\nok\n",
        HOLD "INSERT t {\"id\":1} {\"id\":1}\ncommit\nINSERT p {\"id\":5} {\"id\":5}\ncommit\n"
             "INSERT t {\"id\":2} {\"id\":2}\ncommit\nINSERT t {\"id\":3} {\"id\":3}\ncommit\n");
    expect_rows(f, "SELECT count(*) FROM t,p", "[[3]]");
}

static void interrupted_write_harms_nobody(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->options.query_timeout_ms = 100;
    fixture_open(f);
    expect_group(f,
        (const char *[]){"INSERT INTO t VALUES(1)",
            "INSERT INTO t VALUES(2); INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL "
            "SELECT i+1 "
            "FROM n) SELECT i FROM n",
            "INSERT INTO t VALUES(3)", NULL},
        "ok\nthe statement was stopped after 0.1 s; --query-timeout sets the limit (kept "
        "some)\nok\n",
        HOLD "INSERT t {\"id\":1} {\"id\":1}\ncommit\nINSERT t {\"id\":2} {\"id\":2}\ncommit\n"
             "INSERT t {\"id\":3} {\"id\":3}\ncommit\n");
}

static void ddl_in_a_group(void **state)
{
    expect_group(*state,
        (const char *[]){"INSERT INTO p VALUES(1)", "CREATE TABLE n(a)", "INSERT INTO n VALUES(1)",
            "BEGIN; DROP TABLE n; INSERT INTO nope VALUES(1); COMMIT", "INSERT INTO n VALUES(2)",
            "INSERT OR ROLLBACK INTO p VALUES(1)", NULL},
        "ok\nok\nok\nno such table: nope\nok\nUNIQUE constraint failed: p.id\n",
        HOLD
        "INSERT p {\"id\":1} {\"id\":1}\ncommit\ntable:created n\ncommit\n"
        "INSERT n {\"rowid\":1} {\"a\":1}\ncommit\nINSERT n {\"rowid\":2} {\"a\":2}\ncommit\n");
}

struct thread {
    struct fixture *f;
    pthread_t id;
    int number, failures;
};

static void *write_rows(void *arg)
{
    struct thread *t = arg;
    for (int i = 0; i < 20; i++) {
        char sql[160];
        struct sql_request r = {0};
        int id = 1000 + t->number * 100 + i;
        snprintf(sql, sizeof(sql),
            t->number % 8 == 7   ? "INSERT OR ROLLBACK INTO t VALUES(%d),(%d)"
            : t->number % 8 == 6 ? "INSERT INTO t VALUES(%d); INSERT INTO c VALUES(%d)"
                                 : "INSERT INTO t VALUES(%d) RETURNING %d",
            id, t->number % 8 == 7 ? id : id + 1);
        sql_request_add(&r, sql, strlen(sql));
        database_execute(t->f->db, &r);
        t->failures += r.error.code[0] != 0;
        sql_request_fini(&r);
    }
    return NULL;
}

static void many_threads(void **state)
{
    struct fixture *f = *state;
    struct thread threads[32];
    char expected[64];
    for (int i = 0; i < 32; i++) {
        threads[i] = (struct thread){.f = f, .number = i};
        assert_int_equal(pthread_create(&threads[i].id, NULL, write_rows, &threads[i]), 0);
    }
    for (int i = 0; i < 32; i++) {
        pthread_join(threads[i].id, NULL);
        assert_int_equal(threads[i].failures, i % 8 >= 6 ? 20 : 0);
    }
    snprintf(expected, sizeof(expected), "[[%d]]", 28 * 20);
    expect_rows(f, "SELECT count(*) FROM t", expected);
    /* One event and one transaction for each row, and the sequence has no gap (see the fixture). */
    assert_int_equal(f->seq, 4 + 28 * 20);
    assert_int_equal(f->tx, 4 + 28 * 20);
}

static void locked_elsewhere(void **state)
{
    struct fixture *f = *state;
    sqlite3 *other;
    assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    expect_starts(sql_error(f, "INSERT INTO t VALUES(1)"),
        "SQL_ERROR: the database is locked by another process");
    expect_rows(f, "SELECT count(*) FROM t", "[[0]]");
    /* A query that is posted needs no lock either. */
    struct sql_request r = {.done = on_done};
    sem_init(&finished, 0, 0);
    sql_request_add(&r, "SELECT 1", 8);
    database_post(f->db, &r);
    sem_wait(&finished);
    sem_destroy(&finished);
    assert_string_equal(r.error.code, "");
    sql_request_fini(&r);
    sqlite3_close(other);
    sql_ok(f, "INSERT INTO t VALUES(1)");
}

/* In a process of its own, whose files may not grow past a size: SQLite sees a full disk. */
static int fill_disk(void)
{
    struct fixture f;
    struct rlimit limit = {.rlim_cur = 300000, .rlim_max = 300000};
    signal(SIGXFSZ, SIG_IGN);
    fixture_init(&f);
    f.quiet = true;
    fixture_open(&f);
    sql_ok(&f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    setrlimit(RLIMIT_FSIZE, &limit);
    int kept = 0, failed = 0;
    for (int i = 0; i < 60; i++) {
        struct sql_request r = {0};
        sql_request_add(&r, "INSERT INTO t(v) VALUES(randomblob(20000))", 42);
        database_execute(f.db, &r);
        kept += !r.error.code[0];
        failed += r.error.code[0] != 0;
        sql_request_fini(&r);
    }
    char rows[32];
    snprintf(rows, sizeof(rows), "[[%d]]", kept);
    expect_rows(&f, "SELECT count(*) FROM t", rows);
    bool right = kept > 0 && failed > 0 && f.seq == (uint64_t)kept + 1;
    fixture_fini(&f);
    return right ? 0 : 1;
}

static void disk_full(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(fill_disk());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void shutdown_refuses(void **state)
{
    struct fixture *f = *state;
    database_interrupt(f->db);
    assert_string_equal(
        sql_error(f, "INSERT INTO t VALUES(1)"), "QUERY_CANCELLED: the server shuts down");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(share_a_commit),
        TEST(or_rollback_harms_nobody),
        TEST(deferred_key_harms_nobody),
        TEST(unknown_fate_and_vacuum),
        TEST(interrupted_write_harms_nobody),
        TEST(ddl_in_a_group),
        TEST(many_threads),
        TEST(locked_elsewhere),
        TEST(shutdown_refuses),
        cmocka_unit_test(disk_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
