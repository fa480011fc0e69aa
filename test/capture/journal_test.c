#include "fixture.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/journal.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void open_with_journal(struct fixture *f)
{
    f->options.journal = true;
    fixture_open(f);
}

static int set_up(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_init(f);
    open_with_journal(f);
    *state = f;
    return 0;
}

/* What the file itself says, to any program. */
static const char *file(struct fixture *f, const char *sql)
{
    static char out[4096];
    sqlite3 *db;
    sqlite3_stmt *s;
    out[0] = 0;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    while (sqlite3_step(s) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        size_t len = strlen(out);
        snprintf(out + len, sizeof(out) - len, "%s%s", len ? "," : "", text ? text : "NULL");
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
    return out;
}

#define TABLES "SELECT name FROM sqlite_master ORDER BY 1"

static void without_it_nothing_is_added(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->options.journal = false;
    assert_int_equal(remove(f->path), 0);
    fixture_open(f);
    uint64_t after;
    assert_false(database_past(f->db, &after));
    sql_ok(f, "CREATE TABLE t(a)");
    fixture_close(f);
    assert_string_equal(file(f, TABLES), "t");
}

static void a_restart_goes_on(void **state)
{
    struct fixture *f = *state;
    char epoch[64];
    sql_ok(f, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(1,'x')");
    snprintf(epoch, sizeof(epoch), "%s", database_epoch(f->db));
    for (int i = 0; i < 3; i++) {
        uint64_t seq = f->seq, tx = f->tx, after = 1;
        fixture_close(f);
        fixture_open(f);
        assert_string_equal(database_epoch(f->db), epoch);
        assert_int_equal(database_seq(f->db), seq);
        assert_true(database_past(f->db, &after));
        assert_int_equal(after, 0);
        sql_ok(f, "UPDATE t SET b=b||'y'; ALTER TABLE t RENAME COLUMN b TO b");
        assert_int_equal(f->seq, seq + 1);
        assert_int_equal(f->tx, tx + 1 + (f->tx > tx + 1));
    }
}

static void nobody_sees_its_tables(void **state)
{
    struct fixture *f = *state;
    struct schema *s = database_schema(f->db);
    for (int i = 0; i < s->table_count; i++)
        assert_true(s->tables[i]->internal);
    schema_unref(s);
    expect_events(f, "");
    expect_starts(sql_error(f, "DELETE FROM rowtap_journal"), "FORBIDDEN: ");
    expect_starts(sql_error(f, "DROP TABLE rowtap_journal_info"), "FORBIDDEN: ");
    expect_starts(sql_error(f, "SELECT * FROM rowtap_journal"), "FORBIDDEN: ");
}

static void serving_without_it_ends_it(void **state)
{
    struct fixture *f = *state;
    char epoch[64];
    sql_ok(f, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    snprintf(epoch, sizeof(epoch), "%s", database_epoch(f->db));
    fixture_close(f);
    f->options.journal = false;
    fixture_open(f);
    assert_int_equal(database_seq(f->db), 0);
    sql_ok(f, "INSERT INTO t VALUES(2)");
    fixture_close(f);
    assert_string_equal(file(f, "SELECT ended FROM rowtap_journal_info"), "1");
    buf_reset(&f->all);
    open_with_journal(f);
    assert_string_not_equal(database_epoch(f->db), epoch);
    assert_int_equal(database_seq(f->db), 0);
    sql_ok(f, "INSERT INTO t VALUES(3)");
}

static void a_newer_format_is_refused(void **state)
{
    struct fixture *f = *state;
    struct buf err = {0};
    fixture_close(f);
    file(f, "UPDATE rowtap_journal_info SET format=99");
    assert_null(database_open(&f->options, &err));
    assert_non_null(strstr(buf_text(&err), "format 99"));
    buf_fini(&err);
}

static void a_large_commit_takes_several_pieces(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    sql_ok(f, "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT "
              "20000) SELECT i,printf('row %06d of a large commit',i) FROM n");
    sql_ok(f, "UPDATE t SET b=b||'!' WHERE a%2");
    sql_ok(f, "DELETE FROM t");
    expect_rows(f, "SELECT count(*) FROM t", "[[0]]");
    fixture_close(f);
    assert_true(atoi(file(f, "SELECT count(*) FROM rowtap_journal")) > 5);
    assert_true(atoi(file(f, "SELECT max(length(data)) FROM rowtap_journal")) < 300000);
}

/* One change in each transaction. */
static struct batch *part(const struct table *t, int transactions, bool continued, bool continues)
{
    struct batch *b = batch_new(0);
    for (int i = 0; i < transactions; i++) {
        struct change *c = batch_add(b, CHANGE_INSERT, t);
        assert_non_null(c);
        c->row = batch_row(b, 1);
        c->external = true;
        assert_int_equal(batch_end_transaction(b, 0, NULL), 0);
    }
    b->continued = continued;
    b->continues = continues;
    batch_stamp(b);
    return b;
}

/* However it was split into batches, what is read is one transaction. */
static void a_transaction_in_several_batches(void **state)
{
    struct fixture *f = *state;
    const struct journal_options options = {.enabled = true};
    static const atomic_bool never;
    struct table *t = table_new("t", 1);
    struct sqlconn c;
    struct journal j;
    struct buf err = {0};
    struct piece_reader r;
    struct batch *b;
    uint64_t seq = 0, tx = 0;
    sql_ok(f, "CREATE TABLE t(a)");
    fixture_close(f);
    assert_int_equal(remove(f->path), 0);
    t->columns[0].name = mem_strdup("a");
    t->key_columns = mem_array(1, sizeof(int));
    assert_int_equal(sqlconn_open(&c, f->path, false, 1000, &never), SQLITE_OK);
    assert_int_equal(journal_open(&j, &c, &options, "e1", &err), SQLITE_OK);
    for (int i = 0; i < 5; i++) {
        b = part(t, i == 2 ? 3 : 2, i > 0, i < 4);
        assert_int_equal(sqlconn_run(&c, OWN_BEGIN), SQLITE_OK);
        assert_int_equal(journal_write(&j, b, seq, tx), SQLITE_OK);
        assert_int_equal(sqlconn_run(&c, OWN_COMMIT), SQLITE_OK);
        journal_committed(&j);
        batch_seal(b, &seq, &tx);
        assert_int_equal(j.now.last_seq, seq);
        assert_int_equal(j.now.last_tx, tx);
        batch_unref(b);
    }
    piece_reader_init(&r, 0);
    assert_int_equal(journal_read(&c, &r, 0, 1 << 20, &b), STATUS_OK);
    assert_int_equal(b->change_count, 11);
    assert_int_equal(b->transaction_count, 7);
    assert_false(b->continues);
    for (uint32_t i = 0; i < 7; i++)
        assert_int_equal(b->transactions[i].tx, i + 1);
    batch_unref(b);
    /* A page that ends in the middle of one. */
    assert_int_equal(journal_read(&c, &r, 0, 1, &b), STATUS_OK);
    assert_int_equal(b->change_count, 2);
    assert_true(b->continues);
    batch_unref(b);
    piece_reader_fini(&r);
    journal_close(&j);
    sqlconn_close(&c);
    table_unref(t);
}

/* Without comparing the journal with all that was published. */
static void close_changed(struct fixture *f)
{
    f->options.journal = false;
    fixture_close(f);
    f->options.journal = true;
    buf_reset(&f->all);
}

static void what_is_not_a_history_is_replaced(void **state)
{
    static const char *const damage[] = {
        "DROP TABLE rowtap_journal",
        "DROP TABLE rowtap_journal_info",
        "DELETE FROM rowtap_journal_info",
        "UPDATE rowtap_journal_info SET epoch='a:b'||char(10)||'data: c'",
        "UPDATE rowtap_journal_info SET epoch=printf('%064d',0)",
        "UPDATE rowtap_journal_info SET epoch=''",
    };
    struct fixture *f = *state;
    char epoch[64];
    sql_ok(f, "CREATE TABLE t(a)");
    for (size_t i = 0; i < sizeof(damage) / sizeof(*damage); i++) {
        sql_ok(f, "INSERT INTO t VALUES(1)");
        snprintf(epoch, sizeof(epoch), "%s", database_epoch(f->db));
        close_changed(f);
        file(f, damage[i]);
        fixture_open(f);
        assert_int_equal(strlen(database_epoch(f->db)), strlen(epoch));
        assert_string_not_equal(database_epoch(f->db), epoch);
        assert_int_equal(database_seq(f->db), 0);
    }
}

/* A page holds more than one of the tiny pieces that single rows make. */
static void pages_join_small_pieces(void **state)
{
    static const atomic_bool never;
    struct fixture *f = *state;
    struct sqlconn c;
    struct piece_reader r;
    struct batch *b;
    sql_ok(f, "CREATE TABLE t(a)");
    for (int i = 0; i < 50; i++)
        sql_ok(f, "INSERT INTO t VALUES('abc')");
    assert_int_equal(sqlconn_open(&c, f->path, true, 1000, &never), SQLITE_OK);
    piece_reader_init(&r, 0);
    assert_int_equal(journal_read(&c, &r, 0, 1 << 20, &b), 0);
    assert_int_equal(b->change_count, 51);
    assert_int_equal(b->transaction_count, 51);
    assert_false(b->continues);
    batch_unref(b);
    assert_int_equal(journal_read(&c, &r, 50, 1, &b), 0);
    assert_int_equal(b->first_seq, 51);
    batch_unref(b);
    assert_int_equal(journal_read(&c, &r, 51, 1, &b), STATUS_NOT_FOUND);
    assert_int_equal(journal_read(&c, &r, INT64_MAX, 1, &b), STATUS_NOT_FOUND);
    assert_int_equal(journal_read(&c, &r, (uint64_t)INT64_MAX + 1, 1, &b), STATUS_NOT_FOUND);
    assert_int_equal(journal_read(&c, &r, UINT64_MAX, 1, &b), STATUS_NOT_FOUND);
    piece_reader_fini(&r);
    sqlconn_close(&c);
}

/* Both rows of an UPDATE may be as long as a row can be. */
static void a_piece_may_be_longer_than_a_row(void **state)
{
    static const atomic_bool never;
    static char text[100000];
    const struct journal_options options = {.enabled = true};
    struct fixture *f = *state;
    struct schema *s;
    struct sqlconn c;
    struct journal j;
    struct piece_reader r;
    struct buf err = {0};
    struct batch *b = batch_new(0), *page;
    sql_ok(f, "CREATE TABLE t(a)");
    s = database_schema(f->db);
    struct table *t = schema_find(s, "t", 1);
    close_changed(f);
    struct value *old = batch_row(b, 1), *row = batch_row(b, 1);
    const struct value value = {.p = text, .len = sizeof(text), .type = VALUE_BLOB};
    assert_int_equal(batch_set_value(b, old, &value), 0);
    assert_int_equal(batch_set_value(b, row, &value), 0);
    ((char *)(uintptr_t)row->p)[0] = 1;
    struct change *change = batch_add(b, CHANGE_UPDATE, t);
    change->old = old;
    change->row = row;
    batch_end_transaction(b, 0, NULL);
    batch_stamp(b);
    assert_int_equal(sqlconn_open(&c, f->path, false, 1000, &never), SQLITE_OK);
    assert_int_equal(journal_open(&j, &c, &options, "", &err), SQLITE_OK);
    sqlite3_limit(c.db, SQLITE_LIMIT_LENGTH, 150000);
    assert_int_equal(sqlconn_run(&c, OWN_BEGIN), SQLITE_OK);
    assert_int_equal(journal_write(&j, b, 1, 1), SQLITE_OK);
    assert_int_equal(sqlconn_run(&c, OWN_COMMIT), SQLITE_OK);
    assert_int_equal(sqlite3_limit(c.db, SQLITE_LIMIT_LENGTH, -1), 150000);
    piece_reader_init(&r, 0);
    assert_int_equal(journal_read(&c, &r, 1, 1 << 20, &page), 0);
    assert_int_equal(page->changes[0].row->len, sizeof(text));
    assert_int_equal(sqlite3_limit(c.db, SQLITE_LIMIT_LENGTH, -1), 150000);
    batch_unref(page);
    batch_unref(b);
    piece_reader_fini(&r);
    journal_close(&j);
    sqlconn_close(&c);
    schema_unref(s);
    f->options.journal = false;
}

/* What is kept after 300 commits of one row each, and that the rest is still right. */
static void expect_kept(struct fixture *f, uint64_t least, uint64_t most)
{
    uint64_t after = 0, wrote = f->seq;
    for (int i = 0; i < 300; i++)
        sql_ok(f, "INSERT INTO t VALUES('one row')");
    assert_true(database_past(f->db, &after));
    assert_true(f->seq == wrote + 300);
    assert_in_range(f->seq - after, least, most);
    struct buf out = {0};
    read_journal(f, after, 10000, &out);
    size_t len = strlen(buf_text(&out)), all = strlen(buf_text(&f->all));
    assert_true(len > 0 && len < all);
    assert_string_equal(buf_text(&out), buf_text(&f->all) + all - len);
    buf_fini(&out);
}

static void bounds(void **state)
{
    struct fixture *f = *state;
    uint64_t after;
    sql_ok(f, "CREATE TABLE t(a)");
    fixture_close(f);
    f->options.journal_changes = 40;
    fixture_open(f);
    expect_kept(f, 40, 42);
    f->options.journal = false; /* the rest does not compare with all that was ever published */
    fixture_close(f);

    f->options.journal = true;
    f->options.journal_changes = 0;
    f->options.journal_bytes = 2000;
    fixture_open(f);
    expect_kept(f, 20, 60);
    f->options.journal = false;
    fixture_close(f);
    assert_in_range(atoi(file(f, "SELECT sum(length(data)) FROM rowtap_journal")), 1800, 2300);

    f->options.journal = true;
    f->options.journal_bytes = 0;
    f->options.journal_age_ms = 1;
    fixture_open(f);
    struct timespec pause = {.tv_nsec = 5000000};
    sql_ok(f, "INSERT INTO t VALUES(1)");
    for (int i = 0; i < 100; i++) {
        nanosleep(&pause, NULL);
        sql_ok(f, "INSERT INTO t VALUES(1)");
    }
    /* The newest stays, however old: it tells how far the numbers are. */
    assert_true(database_past(f->db, &after));
    assert_in_range(f->seq - after, 1, 3);
    f->options.journal = false;
    fixture_close(f);
    f->options.journal = true;
    uint64_t seq = f->seq;
    fixture_open(f);
    assert_int_equal(database_seq(f->db), seq);
    f->options.journal = false;
}

/* Large pieces after small ones: as many rows as are added are not as many bytes or changes. */
static void bounds_hold_for_pieces_of_all_sizes(void **state)
{
    struct fixture *f = *state;
    uint64_t after;
    f->options.journal_bytes = 50000;
    f->options.journal_changes = 1000;
    close_changed(f);
    fixture_open(f);
    sql_ok(f, "CREATE TABLE t(a)");
    for (int i = 0; i < 400; i++)
        sql_ok(f, "INSERT INTO t VALUES(1)");
    for (int i = 0; i < 10; i++) {
        sql_ok(f, "INSERT INTO t VALUES(randomblob(20000))");
        assert_true(atoi(file(f, "SELECT sum(length(data)) FROM rowtap_journal")) < 75000);
    }
    for (int i = 0; i < 400; i++)
        sql_ok(f, "INSERT INTO t VALUES(1)");
    for (int i = 0; i < 10; i++) {
        sql_ok(f, "INSERT INTO t SELECT 1 FROM t LIMIT 300");
        assert_true(database_past(f->db, &after));
        assert_in_range(f->seq - after, 300, 1300);
    }
    f->options.journal = false;
}

static void idle_is_trimmed_too(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a)");
    for (int k = 0; k < 2; k++) {
        uint64_t after = 0;
        int waits = 0;
        for (int i = 0; i < 600; i++)
            sql_ok(f, "INSERT INTO t VALUES(1)");
        close_changed(f);
        f->options.journal_age_ms = k ? 0 : 1;
        f->options.journal_changes = k ? 10 : 0;
        fixture_open(f);
        struct timespec pause = {.tv_nsec = 20000000};
        while (database_past(f->db, &after) && f->seq - after > (k ? 10 : 1) && waits++ < 500)
            nanosleep(&pause, NULL);
        assert_in_range(f->seq - after, 1, k ? 10 : 1);
        close_changed(f);
        f->options.journal_age_ms = 0;
        f->options.journal_changes = 0;
        fixture_open(f);
    }
    f->options.journal = false;
}

/* Also where each statement commits by itself, and the journal's own come between. */
static void changes_is_the_users(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a); INSERT INTO t VALUES(1),(2),(3)");
    expect_rows(f, "VACUUM; UPDATE t SET a=a+1; SELECT changes()", "[[3]]");
    expect_rows(
        f, "VACUUM; UPDATE t SET a=a+1; UPDATE t SET a=1 WHERE 0; SELECT changes()", "[[0]]");
    expect_rows(f,
        "VACUUM; INSERT INTO t VALUES(5),(6); INSERT INTO t SELECT changes(); SELECT a,changes() "
        "FROM t WHERE rowid=6",
        "[[2,1]]");
    expect_rows(f, "VACUUM; UPDATE t SET a=7; CREATE TABLE u(a); SELECT changes()", "[[6]]");
}

/* As SQLite's documentation has it, also in a script that runs by itself (VACUUM makes it). */
static void last_insert_rowid_is_the_users(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE a(id INTEGER PRIMARY KEY); CREATE TABLE b(a)");
    sql_ok(f, "VACUUM; INSERT INTO a VALUES(77); INSERT INTO b VALUES(last_insert_rowid())");
    expect_rows(f, "SELECT a FROM b", "[[77]]");
}

static void fail_keeps_what_triggers_did(void **state)
{
    struct fixture *f = *state;
    sql_ok(f,
        "CREATE TABLE t(a INTEGER PRIMARY KEY); CREATE TABLE log(a); CREATE TRIGGER tr BEFORE "
        "INSERT ON t BEGIN INSERT INTO log VALUES(new.a); SELECT RAISE(FAIL,'no more'); END");
    forget_events(f);
    expect_starts(sql_error(f, "INSERT INTO t VALUES(1)"), "SQL_ERROR: no more");
    expect_events(f, "INSERT log {\"rowid\":1} {\"a\":1}\ncommit\n");
    expect_rows(f, "SELECT a FROM log", "[[1]]");
}

/* A file system that fails one write of the log, or the last of each commit. */
static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    int countdown; /* this many more writes succeed; negative: all */
    int code;
} broken;

static sqlite3_io_methods methods;
static const sqlite3_io_methods *real_methods;

static int broken_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
    if (broken.countdown == 0)
        return broken.code;
    if (broken.countdown > 0)
        broken.countdown--;
    return real_methods->xWrite(file, p, n, at);
}

static int broken_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    (void)vfs;
    int rc = broken.real->xOpen(broken.real, name, file, flags, out);
    if (rc == SQLITE_OK && flags & SQLITE_OPEN_WAL) {
        real_methods = file->pMethods;
        methods = *real_methods;
        methods.xWrite = broken_write;
        file->pMethods = &methods;
    }
    return rc;
}

static void break_file_system(void)
{
    broken.real = sqlite3_vfs_find(NULL);
    broken.vfs = *broken.real;
    broken.vfs.zName = "broken";
    broken.vfs.pNext = NULL;
    broken.vfs.xOpen = broken_open;
    broken.countdown = -1;
    assert_int_equal(sqlite3_vfs_register(&broken.vfs, 1), SQLITE_OK);
}

/* Wherever the file system fails, the write fails, nothing is told, and the journal is right. */
static void failing_writes(void **state)
{
    static const int codes[] = {SQLITE_FULL, SQLITE_IOERR_WRITE};
    struct fixture *f = *state;
    fixture_close(f);
    break_file_system();
    fixture_open(f);
    sql_ok(f, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    for (size_t k = 0; k < sizeof(codes) / sizeof(*codes); k++) {
        int failures = 0;
        for (int n = 0; n < 40; n++) {
            const char *insert = "INSERT INTO t(b) VALUES('abc')";
            forget_events(f);
            struct sql_request r = {0};
            assert_non_null(sql_request_add(&r, insert, strlen(insert)));
            broken.code = codes[k];
            broken.countdown = n;
            database_execute(f->db, &r);
            broken.countdown = -1;
            if (r.error.code[0]) {
                failures++;
                assert_string_equal(r.error.code, "SQL_ERROR");
                assert_int_equal(r.error.sqlite_code & 0xff, codes[k] & 0xff);
                expect_events(f, "");
            }
            sql_request_fini(&r);
        }
        assert_true(failures > 1);
    }
    sql_ok(f, "INSERT INTO t(b) VALUES('last')");
    fixture_close(f);
    sqlite3_vfs_unregister(&broken.vfs);
    sqlite3_vfs_register(broken.real, 1);
    assert_string_equal(file(f, "PRAGMA integrity_check"), "ok");
    assert_string_equal(file(f, "SELECT count(*)=(SELECT max(last_seq)-1 FROM rowtap_journal) "
                                "FROM t"),
        "1");
}

/* What another process did to the schema is told with the first commit that succeeds. */
static void a_foreign_schema_and_failing_writes(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    break_file_system();
    fixture_open(f);
    sql_ok(f, "CREATE TABLE t(a INTEGER PRIMARY KEY)");
    forget_events(f);
    foreign(f, "ALTER TABLE t ADD COLUMN b");
    broken.code = SQLITE_FULL;
    broken.countdown = 0;
    expect_starts(sql_error(f, "INSERT INTO t VALUES(1,2)"), "SQL_ERROR: ");
    broken.countdown = -1;
    expect_events(f, "");
    sql_ok(f, "INSERT INTO t VALUES(1,2)");
    pthread_mutex_lock(&f->lock);
    expect_starts(buf_text(&f->log), "table:altered t ");
    pthread_mutex_unlock(&f->lock);
    fixture_close(f);
    sqlite3_vfs_unregister(&broken.vfs);
    sqlite3_vfs_register(broken.real, 1);
}

/* The journal's rows are there when COMMIT finds that it cannot be: deferred keys, alone. */
static void a_failing_commit_leaves_no_trace(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p DEFERRABLE "
              "INITIALLY DEFERRED)");
    forget_events(f);
    const char *before = strdup(file(f, "SELECT count(*) FROM rowtap_journal"));
    for (int i = 0; i < 2; i++) {
        const char *sql = i ? "BEGIN; INSERT INTO p VALUES(1); INSERT INTO c VALUES(9); COMMIT"
                            : "INSERT INTO c VALUES(5)";
        expect_starts(sql_error(f, sql), "SQL_ERROR: FOREIGN KEY");
        expect_events(f, "");
    }
    sql_ok(f, "BEGIN; INSERT INTO p VALUES(3); ROLLBACK");
    assert_string_equal(file(f, "SELECT count(*) FROM rowtap_journal"), before);
    free((void *)(uintptr_t)before);
}

static void memory_runs_out_at_opening(void **state)
{
    struct fixture *f = *state;
    sql_ok(f, "CREATE TABLE t(a)");
    fixture_close(f);
    int n = 0;
    do {
        struct buf err = {0};
        mem_fail_after(n++);
        f->db = database_open(&f->options, &err);
        mem_fail_after(-1);
        buf_fini(&err);
    } while (!f->db && n < 2000);
    assert_true(f->db && n > 10);
    f->seq = database_seq(f->db);
    assert_int_equal(f->seq, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, fixture_teardown)
        TEST(without_it_nothing_is_added),
        TEST(a_restart_goes_on),
        TEST(nobody_sees_its_tables),
        TEST(serving_without_it_ends_it),
        TEST(a_newer_format_is_refused),
        TEST(a_large_commit_takes_several_pieces),
        TEST(a_transaction_in_several_batches),
        TEST(what_is_not_a_history_is_replaced),
        TEST(pages_join_small_pieces),
        TEST(a_piece_may_be_longer_than_a_row),
        TEST(bounds),
        TEST(bounds_hold_for_pieces_of_all_sizes),
        TEST(idle_is_trimmed_too),
        TEST(changes_is_the_users),
        TEST(last_insert_rowid_is_the_users),
        TEST(fail_keeps_what_triggers_did),
        TEST(failing_writes),
        TEST(a_foreign_schema_and_failing_writes),
        TEST(a_failing_commit_leaves_no_trace),
        TEST(memory_runs_out_at_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
