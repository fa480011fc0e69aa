#include "fixture.h"

#include "base/mem.h"
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opening: what can be wrong with a path, and what is said about it. */

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_init(f);
    *state = f;
    return 0;
}

static const char *refused(struct fixture *f, const char *path)
{
    static char text[512];
    struct buf err = {0};
    f->options.path = path;
    struct database *db = database_open(&f->options, &err);
    assert_null(db);
    snprintf(text, sizeof(text), "%s", buf_text(&err));
    buf_fini(&err);
    return text;
}

static const char *in_dir(struct fixture *f, const char *name)
{
    static char path[200];
    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    return path;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void expect_refused(struct fixture *f, const char *path, const char *why)
{
    const char *said = refused(f, path);
    if (!strstr(said, why))
        fail_msg("%s: %s", path, said);
}

static void bad_paths(void **state)
{
    struct fixture *f = *state;
    expect_refused(f, f->dir, "it is a directory");
    expect_refused(f, "", "no database");
    expect_refused(f, in_dir(f, "no/such/x.db"), "No such file or directory");
    const char *path = in_dir(f, "text.db");
    write_file(path,
        "this is not a database, but it is long enough to be looked at as one ..........."
        "..........................................................................");
    expect_refused(f, path, "not an SQLite database");
    if (geteuid() == 0)
        return;
    chmod(path, 0444);
    expect_refused(f, path, "no permission to write");
    chmod(path, 0);
    expect_refused(f, path, "no permission to read");
}

static void locked_exclusively(void **state)
{
    struct fixture *f = *state;
    sqlite3 *other;
    assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
    sqlite3_exec(other, "PRAGMA locking_mode=EXCLUSIVE; CREATE TABLE t(a); INSERT INTO t VALUES(1)",
        NULL, NULL, NULL);
    expect_refused(f, f->path, "another process holds a lock");
    sqlite3_close(other);
    fixture_open(f);
}

static void odd_names(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {
        "a?mode=ro", "50% & more#x", "it's \"here\"", ":memory:", "file:x"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        f->options.path = in_dir(f, names[i]);
        fixture_open(f);
        sql_ok(f, "CREATE TABLE t(a)");
        fixture_close(f);
        assert_int_equal(access(in_dir(f, names[i]), R_OK), 0);
    }
    assert_int_equal(chdir(f->dir), 0);
    f->options.path = ":memory:";
    fixture_open(f);
    expect_rows(f, "SELECT name FROM sqlite_master", "[[\"t\"]]");
    fixture_close(f);
    f->options.path = "file:x";
    fixture_open(f);
    expect_rows(f, "SELECT name FROM sqlite_master", "[[\"t\"]]");
    assert_int_equal(chdir("/"), 0);
}

static void journal_modes(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    assert_string_equal(database_journal_mode(f->db), "wal");
    assert_int_equal(database_ping(f->db), 0);
    assert_int_equal(strlen(database_epoch(f->db)), 12);
    expect_rows(f, "PRAGMA synchronous", "[[2]]");
    expect_rows(f, "PRAGMA foreign_keys", "[[1]]");
    fixture_close(f);
    foreign(f, "PRAGMA journal_mode=DELETE");
    f->options.keep_journal_mode = true;
    fixture_open(f);
    assert_string_equal(database_journal_mode(f->db), "delete");
    sql_ok(f, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    expect_events(f, "table:created t\ncommit\nINSERT t {\"rowid\":1} {\"a\":1}\ncommit\n");
    expect_rows(f, "SELECT * FROM t", "[[1]]");
    fixture_close(f);
    /* The log is emptied and removed by the last one to close. */
    f->options.keep_journal_mode = false;
    fixture_open(f);
    sql_ok(f, "INSERT INTO t VALUES(2)");
    fixture_close(f);
    assert_int_not_equal(access(in_dir(f, "test.db-wal"), F_OK), 0);
}

static void utf16(void **state)
{
    struct fixture *f = *state;
    foreign(f, "PRAGMA encoding='UTF-16le'; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)");
    fixture_open(f);
    sql_ok(f, "INSERT INTO t(v) VALUES('h\xc3\xa9llo'); UPDATE t SET v='\xe2\x82\xac'");
    expect_events(f, "INSERT t {\"id\":1} {\"id\":1,\"v\":\"h\xc3\xa9llo\"}\ncommit\n"
                     "UPDATE t {\"id\":1} {\"id\":1,\"v\":\"h\xc3\xa9llo\"} -> "
                     "{\"id\":1,\"v\":\"\xe2\x82\xac\"}\ncommit\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(bad_paths),
        TEST(locked_exclusively),
        TEST(odd_names),
        TEST(journal_modes),
        TEST(utf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
