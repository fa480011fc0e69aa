#include "mixed.h"

#include "base/clock.h"
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The log stays small, and others can make of it what they want. */

static int64_t log_size(struct mixed *m)
{
    char path[160];
    struct stat st;
    snprintf(path, sizeof(path), "%s-wal", m->f.path);
    return stat(path, &st) == 0 ? st.st_size : 0;
}

/* SQLite does not wait where somebody else makes a checkpoint just then. */
static const char *checkpoint(struct mixed *m, const char *mode)
{
    const char *said = other_ok(&m->o, "PRAGMA wal_checkpoint(%s)", mode);
    for (int i = 0; i < 50 && strcmp(said, "1|-1|-1") == 0; i++) {
        usleep(2000);
        said = other_ok(&m->o, "PRAGMA wal_checkpoint(%s)", mode);
    }
    return said;
}

/* How often threads of this process were woken. */
static long wakes(void)
{
    char command[160];
    long sum = 0;
    snprintf(command, sizeof(command),
        "cat /proc/%d/task/*/status | awk '/^voluntary/{n+=$2} END{print n}'", (int)getpid());
    FILE *p = popen(command, "r");
    assert_non_null(p);
    assert_int_equal(fscanf(p, "%ld", &sum), 1);
    pclose(p);
    return sum;
}

#define COMMITS 20000

static void the_log_stays_small(void **state)
{
    struct mixed *m = *state;
    int64_t largest = 0;
    uint64_t seq = fixture_seq(&m->f);
    fixture_listen(&m->f, NULL, true);
    other_ok(&m->o, "PRAGMA synchronous=OFF");
    for (int i = 0; i < COMMITS / 500; i++) {
        other_send(&m->o, ".times 500 INSERT INTO t(v) VALUES(randomblob(200))");
        other_wait(&m->o);
        int64_t size = log_size(m);
        largest = size > largest ? size : largest;
        if (i % 10 == 5)
            sql_ok(&m->f, "INSERT INTO t(v) VALUES('own')");
    }
    sql_ok(&m->f, "INSERT INTO t(v) VALUES('last')");
    assert_int_equal(fixture_seq(&m->f) - seq, COMMITS + COMMITS / 5000 + 1);
    print_message("# the log had up to %lld KiB\n", (long long)largest >> 10);
    /* Never restarted it would have some 180 MiB; a sanitizer makes us slow, not them. */
    assert_true(largest < 120 << 20);
    assert_int_equal(m->f.gaps, 0);
    /* Now all is quiet: nothing is in the way of one who wants the log emptied. */
    usleep(100000);
    other_ok(&m->o, "PRAGMA busy_timeout=5000");
    assert_string_equal(checkpoint(m, "TRUNCATE"), "0|0|0");
    assert_int_equal(log_size(m), 0);
    usleep(300000);
    long before = wakes();
    usleep(2000000);
    long woken = wakes() - before;
    print_message("# %ld wake-ups in 2 s\n", woken);
    assert_true(woken < 60);
    fixture_listen(&m->f, NULL, false);
    other_ok(&m->o, "INSERT INTO t VALUES(-1,2)");
    await_events(&m->f, OTHERS(-1, "2"));
}

struct ours {
    struct mixed *m;
    pthread_t thread;
    const char *sql;
    int most; /* requests */
    atomic_bool *end;
    int pause_us;
    atomic_int done, failed;
};

static void *write_ours(void *arg)
{
    struct ours *o = arg;
    while (o->done < o->most && !atomic_load(o->end)) {
        struct sql_request r = {0};
        sql_request_add(&r, o->sql, strlen(o->sql));
        database_execute(o->m->f.db, &r);
        o->failed += r.error.code[0] != 0;
        sql_request_fini(&r);
        o->done++;
        usleep(o->pause_us);
    }
    return NULL;
}

/* So does it while large commits of our own follow one another without a pause. */
static void large_ones_of_our_own(void **state)
{
    struct mixed *m = *state;
    struct ours ours[4];
    atomic_bool end = false;
    int64_t largest = 0;
    int together = 0;
    m->f.quiet = true;
    fixture_listen(&m->f, NULL, true);
    for (int i = 0; i < 4; i++) {
        ours[i] = (struct ours){.m = m,
            .most = 50,
            .end = &end,
            .sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000) "
                   "INSERT INTO t(v) SELECT randomblob(400) FROM n"};
        pthread_create(&ours[i].thread, NULL, write_ours, &ours[i]);
    }
    while (together < 200) {
        usleep(5000);
        int64_t size = log_size(m);
        largest = size > largest ? size : largest;
        together = 0;
        for (int i = 0; i < 4; i++)
            together += ours[i].done;
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(ours[i].thread, NULL);
        assert_int_equal(ours[i].failed, 0);
    }
    print_message("# the log had up to %lld KiB\n", (long long)largest >> 10);
    assert_true(largest < 40 << 20);
}

/* Who writes here need not wait for the end of a rush of others, and the log stays small then, too.
 */
static void one_of_ours_in_a_rush(void **state)
{
    struct mixed *m = *state;
    atomic_bool end = false;
    struct ours ours = {.m = m,
        .most = INT_MAX,
        .pause_us = 1000,
        .end = &end,
        .sql = "INSERT INTO t(v) VALUES(randomblob(200))"};
    uint64_t seq = fixture_seq(&m->f);
    m->f.quiet = true;
    fixture_listen(&m->f, NULL, true);
    other_ok(&m->o, "PRAGMA synchronous=OFF");
    other_ok(&m->intruder, "PRAGMA synchronous=OFF");
    other_ok(&m->o, "PRAGMA busy_timeout=30000");
    other_ok(&m->intruder, "PRAGMA busy_timeout=30000");
    pthread_create(&ours.thread, NULL, write_ours, &ours);
    other_send(&m->o, ".times %d INSERT INTO t(v) VALUES(randomblob(200))", COMMITS);
    other_send(&m->intruder, ".times %d INSERT INTO t(v) VALUES(randomblob(200))", COMMITS);
    other_wait(&m->o);
    other_wait(&m->intruder);
    int64_t size = log_size(m);
    int done = ours.done;
    atomic_store(&end, true);
    pthread_join(ours.thread, NULL);
    assert_int_equal(ours.failed, 0);
    sql_ok(&m->f, "INSERT INTO t(v) VALUES('last')");
    assert_int_equal(fixture_seq(&m->f) - seq, 2 * COMMITS + ours.done + 1);
    print_message("# %d of ours, the log has %lld KiB\n", done, (long long)size >> 10);
    assert_true(done > 30);
    assert_true(size < 250 << 20);
    assert_int_equal(m->f.gaps, 0);
}

/* An application that empties the log now and then, or ends with every commit, can do so. */
static void others_may_empty_the_log(void **state)
{
    struct mixed *m = *state;
    struct other o;
    fixture_listen(&m->f, NULL, true);
    uint64_t seq = fixture_seq(&m->f);
    other_ok(&m->o, "PRAGMA synchronous=OFF");
    other_ok(&m->o, "PRAGMA busy_timeout=5000");
    for (int i = 0; i < 12; i++) {
        other_ok(&m->o, ".times %d INSERT INTO t(v) VALUES(randomblob(3000))", i * i + 1);
        if (i % 4 == 3)
            sql_ok(&m->f, "DELETE FROM t WHERE 0");
        const char *said = checkpoint(m, i % 3 == 0 ? "RESTART" : i % 3 == 1 ? "TRUNCATE" : "FULL");
        if (said[0] != '0')
            fail_msg("round %d: %s", i, said);
        other_start(&o, m->f.path);
        other_ok(&o, "INSERT INTO t(v) VALUES('short')");
        other_end(&o);
        seq += (uint64_t)(i * i + 2);
    }
    sql_ok(&m->f, "INSERT INTO t(v) VALUES('last')");
    assert_int_equal(fixture_seq(&m->f), seq + 1);
    assert_int_equal(m->f.gaps, 0);
}

/* The server's own place in the log is not in the way of checkpoints that are run through it. */
static void checkpoints_of_our_own(void **state)
{
    struct mixed *m = *state;
    static const char *const modes[] = {"PASSIVE", "FULL", "RESTART", "TRUNCATE"};
    fixture_listen(&m->f, NULL, true);
    uint64_t seq = fixture_seq(&m->f);
    for (int i = 0; i < 40; i++) {
        char sql[60];
        snprintf(sql, sizeof(sql), "PRAGMA wal_checkpoint(%s)", modes[i % 4]);
        other_ok(&m->o, "INSERT INTO t(v) VALUES(randomblob(100000))");
        if (i % 3 < 2)
            sql_ok(&m->f, "INSERT INTO t(v) VALUES('own')");
        const char *said = sql_ok(&m->f, sql);
        if (!strstr(said, "[[0,"))
            fail_msg("%d: %s: %s", i, sql, said);
        if (i % 4 == 3)
            assert_in_range(log_size(m), 0, 50000);
    }
    sql_ok(&m->f, "INSERT INTO t(v) VALUES('last')");
    assert_int_equal(fixture_seq(&m->f), seq + 40 + 27 + 1);
    assert_int_equal(m->f.gaps, 0);
}

/* Whatever others commit in between is told all the same. */
static void checkpoints_in_a_rush(void **state)
{
    struct mixed *m = *state;
    int count = 0, emptied = 0;
    fixture_listen(&m->f, NULL, true);
    uint64_t seq = fixture_seq(&m->f);
    other_ok(&m->o, "PRAGMA synchronous=OFF");
    other_send(&m->o, ".times %d INSERT INTO t(v) VALUES(randomblob(300))", COMMITS);
    do {
        emptied += strstr(sql_ok(&m->f, "PRAGMA wal_checkpoint(TRUNCATE)"), "[[0,") != NULL;
        count++;
    } while (!other_ready(&m->o));
    other_wait(&m->o);
    sql_ok(&m->f, "INSERT INTO t(v) VALUES('last')");
    assert_int_equal(fixture_seq(&m->f), seq + COMMITS + 1);
    assert_int_equal(m->f.gaps, 0);
    print_message("# %d of %d emptied it\n", emptied, count);
}

/* With somebody else in the way they are given up soon, for nobody can write meanwhile. */
static void checkpoints_beside_a_reader(void **state)
{
    struct mixed *m = *state;
    int64_t began = clock_mono_ms();
    other_ok(&m->o, "BEGIN");
    other_ok(&m->o, "SELECT count(*) FROM t");
    sql_ok(&m->f, "INSERT INTO t(v) VALUES('own')");
    assert_non_null(strstr(sql_ok(&m->f, "PRAGMA wal_checkpoint(TRUNCATE)"), "[[1,"));
    assert_true(clock_mono_ms() - began < m->f.options.busy_timeout_ms / 2);
    other_ok(&m->o, "COMMIT");
    assert_non_null(strstr(sql_ok(&m->f, "PRAGMA wal_checkpoint(TRUNCATE)"), "[[0,"));
}

/* While somebody reads an old state the log can only grow: that is no reason to hurry. */
static void a_long_reader(void **state)
{
    struct mixed *m = *state;
    struct timespec before, after;
    struct other reader;
    fixture_listen(&m->f, NULL, true);
    uint64_t seq = fixture_seq(&m->f);
    other_start(&reader, m->f.path);
    other_ok(&m->o, "PRAGMA synchronous=OFF");
    other_ok(&m->o, "INSERT INTO t(v) VALUES('first')");
    other_ok(&reader, "BEGIN; SELECT count(*) FROM t");
    for (int i = 0; i < 4; i++) {
        other_ok(&m->o, ".times %d INSERT INTO t(v) VALUES(randomblob(3000))", 100 << i);
        sql_ok(&m->f, "INSERT INTO t(v) VALUES('own')");
        seq += (100u << i) + 1;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
        usleep(700000);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
        int64_t used_ms =
            (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
        print_message(
            "# %lld KiB, %lld ms of 700\n", (long long)log_size(m) >> 10, (long long)used_ms);
        assert_true(used_ms < 350);
    }
    assert_int_equal(fixture_seq(&m->f), seq + 1);
    other_ok(&reader, "COMMIT");
    usleep(1500000);
    other_ok(&m->o, "INSERT INTO t(v) VALUES('last')");
    assert_string_equal(checkpoint(m, "TRUNCATE"), "0|0|0");
    other_end(&reader);
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
#define TEST(name) cmocka_unit_test_setup_teardown(name, mixed_set_up, mixed_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_log_stays_small),
        TEST(large_ones_of_our_own),
        TEST(one_of_ours_in_a_rush),
        TEST(others_may_empty_the_log),
        TEST(checkpoints_of_our_own),
        TEST(checkpoints_in_a_rush),
        TEST(checkpoints_beside_a_reader),
        TEST(a_long_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
