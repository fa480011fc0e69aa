#include "other.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/copier.h"
#include "sqlite_memory.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct copying {
    char path[64];
    struct other o; /* another process that writes */
    struct copier c;
    int pipe[2]; /* a byte for each copy that is done */
};

static const atomic_bool never;

static void tell(void *ctx)
{
    struct copying *t = ctx;
    assert_int_equal(write(t->pipe[1], "", 1), 1);
}

static void wait_for_copy(struct copying *t)
{
    struct pollfd p = {.fd = t->pipe[0], .events = POLLIN};
    char byte;
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(read(t->pipe[0], &byte, 1), 1);
    assert_false(copier_is_busy(&t->c));
}

static int set_up(void **state)
{
    struct copying *t = calloc(1, sizeof(*t));
    strcpy(t->path, "/tmp/rowtap-copier-XXXXXX");
    close(mkstemp(t->path));
    assert_int_equal(pipe(t->pipe), 0);
    other_start(&t->o, t->path);
    other_ok(&t->o, "PRAGMA journal_mode=WAL");
    other_ok(&t->o, "PRAGMA busy_timeout=2000");
    other_ok(&t->o, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    assert_int_equal(copier_start(&t->c, t->path, &never, tell, t), STATUS_OK);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct copying *t = *state;
    char path[80];
    copier_stop(&t->c);
    other_end(&t->o);
    close(t->pipe[0]);
    close(t->pipe[1]);
    unlink(t->path);
    snprintf(path, sizeof(path), "%s-wal", t->path);
    unlink(path);
    snprintf(path, sizeof(path), "%s-shm", t->path);
    unlink(path);
    free(t);
    return 0;
}

/* "busy|frames in the log|frames copied" */
static const char *checkpoint(struct copying *t)
{
    return other_ok(&t->o, "PRAGMA wal_checkpoint");
}

static void a_copy_is_made(void **state)
{
    struct copying *t = *state;
    other_ok(&t->o, "PRAGMA wal_autocheckpoint=0");
    other_ok(&t->o, "INSERT INTO t(v) VALUES(1)");
    struct stat before, after;
    stat(t->path, &before);
    copier_ask(&t->c);
    wait_for_copy(t);
    stat(t->path, &after);
    assert_true(after.st_size > before.st_size);
    other_ok(&t->o, "INSERT INTO t(v) VALUES(2)");
    copier_copy(&t->c);
    /* All is copied, so the next commit begins the log again. */
    other_ok(&t->o, "INSERT INTO t(v) VALUES(3)");
    assert_string_equal(checkpoint(t), "0|1|1");
}

static void others_are_kept_off(void **state)
{
    struct copying *t = *state;
    other_ok(&t->o, "INSERT INTO t(v) VALUES(1)");
    assert_true(copier_keep(&t->c, true));
    assert_true(copier_keep(&t->c, true));
    assert_string_equal(checkpoint(t), "1|-1|-1");
    /* Nor once the copier has used the lock for itself. */
    for (int i = 0; i < 3; i++) {
        copier_ask(&t->c);
        wait_for_copy(t);
        assert_string_equal(checkpoint(t), "1|-1|-1");
        assert_string_equal(other_ok(&t->o, "PRAGMA wal_checkpoint(TRUNCATE)"), "1|-1|-1");
        other_ok(&t->o, "INSERT INTO t(v) VALUES(2)");
    }
    /* The copier's own were real: one commit lies in the log, behind what it copied. */
    copier_copy(&t->c);
    other_ok(&t->o, "INSERT INTO t(v) VALUES(3)");
    assert_true(copier_keep(&t->c, false));
    assert_string_equal(checkpoint(t), "0|1|1");
    assert_true(copier_keep(&t->c, false));
    assert_string_equal(other_ok(&t->o, "PRAGMA integrity_check"), "ok");
}

/* A log of more than 1000 frames: each commit would make a checkpoint, and does not. */
static void the_log_grows_meanwhile(void **state)
{
    struct copying *t = *state;
    assert_true(copier_keep(&t->c, true));
    other_ok(&t->o, "PRAGMA synchronous=OFF");
    other_ok(&t->o, ".times 1500 INSERT INTO t(v) VALUES(randomblob(100))");
    assert_true(copier_keep(&t->c, false));
    const char *said = checkpoint(t);
    int busy, frames = 0, copied = 0;
    assert_int_equal(sscanf(said, "%d|%d|%d", &busy, &frames, &copied), 3);
    assert_int_equal(busy, 0);
    assert_true(frames >= 1500);
    assert_int_equal(copied, frames);
}

static void somebody_else_has_it(void **state)
{
    struct copying *t = *state;
    struct copier second;
    assert_true(copier_keep(&t->c, true));
    assert_int_equal(copier_start(&second, t->path, &never, tell, t), STATUS_OK);
    assert_false(copier_keep(&second, true));
    copier_copy(&second);
    assert_true(copier_keep(&t->c, false));
    assert_true(copier_keep(&second, true));
    assert_string_equal(checkpoint(t), "1|-1|-1");
    /* It ends with the copier, and with a process that is killed. */
    copier_stop(&second);
    assert_string_equal(checkpoint(t) + 1, "|2|2");
}

/* The index has to be made anew while the lock is kept: the lock is lost then, and nothing else. */
static void a_recovery(void **state)
{
    struct copying *t = *state;
    char path[80];
    other_ok(&t->o, "INSERT INTO t(v) VALUES(1)");
    assert_true(copier_keep(&t->c, true));
    snprintf(path, sizeof(path), "%s-shm", t->path);
    FILE *f = fopen(path, "r+b");
    for (int i = 0; i < 100; i++)
        fputc(0, f);
    fclose(f);
    /* Closing the file has dropped this process's locks on it; only the copier's state is at stake.
     */
    assert_int_equal(sqlconn_run(&t->c.conn, OWN_TOUCH), SQLITE_OK);
    other_ok(&t->o, "INSERT INTO t(v) VALUES(2)");
    assert_string_equal(other_ok(&t->o, "SELECT count(*) FROM t"), "2");
    assert_true(copier_keep(&t->c, true));
    copier_ask(&t->c);
    wait_for_copy(t);
    assert_string_equal(checkpoint(t), "1|-1|-1");
}

static void memory_runs_out(void **state)
{
    struct copying *t = *state;
    struct copier c;
    int status = STATUS_NOMEM;
    for (int n = 0; status == STATUS_NOMEM; n++) {
        mem_fail_after(n);
        status = copier_start(&c, t->path, &never, tell, t);
        mem_fail_after(-1);
        copier_stop(&c);
    }
    assert_int_equal(status, STATUS_OK);
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_copy_is_made),
        TEST(others_are_kept_off),
        TEST(the_log_grows_meanwhile),
        TEST(somebody_else_has_it),
        TEST(a_recovery),
        TEST(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
