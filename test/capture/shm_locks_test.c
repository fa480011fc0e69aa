#include "other.h"

#include "capture/shm_locks.h"
#include "capture/sqlconn.h"
#include "capture/wal/shm.h"
#include "capture/wal_files.h"
#include "fixture.h"
#include <stdlib.h>
#include <string.h>

struct reading {
    struct fixture files; /* its directory and path only */
    struct other o;       /* another process, which writes */
    struct sqlconn c;
};

static const atomic_bool never;

static int set_up(void **state)
{
    struct reading *t = calloc(1, sizeof(*t));
    fixture_init(&t->files);
    other_start(&t->o, t->files.path);
    other_ok(&t->o, "PRAGMA journal_mode=WAL");
    other_ok(&t->o, "PRAGMA synchronous=OFF");
    other_ok(&t->o, "PRAGMA busy_timeout=0");
    other_ok(&t->o, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    assert_int_equal(sqlconn_open(&t->c, t->files.path, true, 0, &never), SQLITE_OK);
    assert_int_equal(sqlconn_run(&t->c, OWN_TOUCH), SQLITE_OK);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct reading *t = *state;
    sqlconn_close(&t->c);
    other_end(&t->o);
    fixture_fini(&t->files);
    free(t);
    return 0;
}

/* What SQLite itself asks for when it finds the head of the index half written. */
static int ask(struct reading *t, int kind)
{
    sqlite3_file *file = NULL;
    sqlite3_file_control(t->c.db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    int rc = file->pMethods->xShmLock(file, WAL_SHM_WRITE, 1, SQLITE_SHM_LOCK | kind);
    if (rc == SQLITE_OK)
        file->pMethods->xShmLock(file, WAL_SHM_WRITE, 1, SQLITE_SHM_UNLOCK | kind);
    return rc;
}

static void tear_the_head(struct reading *t)
{
    struct wal_files files;
    struct wal_shm head;
    assert_int_equal(wal_files_find(&files, &t->c), SQLITE_OK);
    ((volatile uint32_t *)(uintptr_t)files.shm)[2] += 1;
    assert_false(wal_shm_read(files.shm, &head));
}

static void a_writer_that_waits_for_nobody(void **state)
{
    struct reading *t = *state;
    int reads = 0;
    other_send(&t->o, ".times 60000 INSERT INTO t(v) VALUES(1)");
    while (!other_ready(&t->o)) {
        assert_int_equal(sqlconn_run(&t->c, OWN_TOUCH), SQLITE_OK);
        reads++;
    }
    assert_string_equal(other_wait(&t->o), "ok");
    assert_true(reads > 100);
}

static void a_whole_head_needs_no_lock(void **state)
{
    struct reading *t = *state;
    assert_int_equal(ask(t, SQLITE_SHM_EXCLUSIVE), SQLITE_BUSY);
    assert_int_equal(ask(t, SQLITE_SHM_SHARED), SQLITE_BUSY);
    other_ok(&t->o, "BEGIN IMMEDIATE");
    other_ok(&t->o, "COMMIT");
}

static void a_torn_head_is_recovered(void **state)
{
    struct reading *t = *state;
    other_ok(&t->o, "INSERT INTO t(v) VALUES(1)");
    tear_the_head(t);
    assert_int_equal(ask(t, SQLITE_SHM_EXCLUSIVE), SQLITE_OK);
    assert_int_equal(sqlconn_run(&t->c, OWN_TOUCH), SQLITE_OK);
    assert_int_equal(ask(t, SQLITE_SHM_EXCLUSIVE), SQLITE_BUSY);
    assert_string_equal(other_ok(&t->o, "SELECT count(*) FROM t"), "1");
    other_ok(&t->o, "INSERT INTO t(v) VALUES(2)");
    assert_string_equal(other_ok(&t->o, "PRAGMA integrity_check"), "ok");
}

/* One who writes rows needs the lock, and gets it. */
static void a_writer_of_ours(void **state)
{
    struct reading *t = *state;
    struct sqlconn w;
    assert_int_equal(sqlconn_open(&w, t->files.path, false, 0, &never), SQLITE_OK);
    assert_int_equal(sqlconn_run(&w, OWN_BEGIN), SQLITE_OK);
    assert_non_null(strstr(other_try(&t->o, "BEGIN IMMEDIATE"), "locked"));
    sqlconn_close(&w);
    other_ok(&t->o, "BEGIN IMMEDIATE");
    other_ok(&t->o, "COMMIT");
}

/* A journal mode without an index, before and after: nothing is in the way of either. */
static void another_mode(void **state)
{
    struct reading *t = *state;
    sqlconn_close(&t->c);
    assert_string_equal(other_ok(&t->o, "PRAGMA journal_mode=DELETE"), "delete");
    assert_int_equal(sqlconn_open(&t->c, t->files.path, true, 0, &never), SQLITE_OK);
    assert_int_equal(sqlconn_run(&t->c, OWN_TOUCH), SQLITE_OK);
    other_ok(&t->o, "INSERT INTO t(v) VALUES(1)");
    assert_string_equal(other_ok(&t->o, "PRAGMA journal_mode=WAL"), "wal");
    assert_int_equal(sqlconn_run(&t->c, OWN_TOUCH), SQLITE_OK);
    assert_int_equal(ask(t, SQLITE_SHM_EXCLUSIVE), SQLITE_BUSY);
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_writer_that_waits_for_nobody),
        TEST(a_whole_head_needs_no_lock),
        TEST(a_torn_head_is_recovered),
        TEST(a_writer_of_ours),
        TEST(another_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
