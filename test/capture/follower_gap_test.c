#include "mixed.h"
#include "sqlite_memory.h"

#include "base/mem.h"
#include "base/status.h"
#include "capture/follower.h"
#include "capture/settle.h"
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Commits that cannot be decoded, or for which there is no memory: either all of their changes come
 * or a gap does, and what follows is right.
 */

/* A damaged log. */

#define FRAME_HEADER 24
#define FRAME (FRAME_HEADER + 4096)

/*
 * Turns bytes of the log over; the second time they are right again. In another process: to open
 * and close one of the database's files here would end SQLite's locks.
 */
static void turn_over(const char *path, off_t at)
{
    uint8_t bytes[8];
    int status;
    pid_t child = fork();
    if (child == 0) {
        int fd = open(path, O_RDWR);
        bool done = pread(fd, bytes, sizeof(bytes), at) == sizeof(bytes);
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] ^= 0x55;
        _exit(!done || pwrite(fd, bytes, sizeof(bytes), at) != sizeof(bytes));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static const char *damaging_sql;
static int damaged_part; /* of the last frame */
static off_t damaged_at;

static void turn_over_last_frame(struct mixed *m, bool repair)
{
    char path[160];
    struct stat st;
    snprintf(path, sizeof(path), "%s-wal", m->f.path);
    if (!repair) {
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal((st.st_size - 32) % FRAME, 0);
        damaged_at = st.st_size - FRAME + damaged_part;
    }
    turn_over(path, damaged_at);
}

/* While the database's thread is in here, the other process commits what will not be readable. */
static void commit_damaged(struct fixture *f, struct batch *b)
{
    struct mixed *m = (struct mixed *)f;
    if (b->gap || !damaging_sql)
        return;
    other_ok(&m->intruder, "%s", damaging_sql);
    damaging_sql = NULL;
    turn_over_last_frame(m, false);
}

static void damage(struct mixed *m, const char *sql, int part)
{
    damaging_sql = sql;
    damaged_part = part;
    fixture_listen(&m->f, commit_damaged, false);
    sql_ok(&m->f, "INSERT INTO t VALUES(100,'own')");
}

static unsigned await_gap(struct mixed *m)
{
    unsigned gaps = 0;
    for (int i = 0; i < 5000 && gaps == 0; i++) {
        usleep(2000);
        pthread_mutex_lock(&m->f.lock);
        gaps = m->f.gaps;
        pthread_mutex_unlock(&m->f.lock);
    }
    assert_true(gaps > 0);
    return gaps;
}

#define GAP "gap capture_gap\n"

static void a_damaged_page(void **state)
{
    struct mixed *m = *state;
    damage(m, "INSERT INTO t VALUES(1,'lost')", FRAME_HEADER);
    assert_int_equal(await_gap(m), 1);
    turn_over_last_frame(m, true);
    other_ok(&m->o, "INSERT INTO t VALUES(2,'a')");
    sql_ok(&m->f, "INSERT INTO t VALUES(3,'b')");
    other_ok(&m->o, "UPDATE t SET v='c' WHERE id=1");
    await_events(&m->f,
        OWN(100, "\"own\"") GAP OTHERS(2, "\"a\"") OWN(3, "\"b\"") "UPDATE t {\"id\":1} " ROW(
            1, "\"lost\"") " -> " ROW(1, "\"c\"") " external\ncommit\n");
    assert_int_equal(m->f.gaps, 1);
}

/* What the schema became is told, though not how the rows did. */
static void a_damaged_page_and_a_table(void **state)
{
    struct mixed *m = *state;
    damage(m,
        "BEGIN; CREATE TABLE n(a); ALTER TABLE t RENAME TO tt; INSERT INTO n VALUES(1); COMMIT",
        FRAME_HEADER);
    await_gap(m);
    turn_over_last_frame(m, true);
    other_ok(&m->o, "INSERT INTO n VALUES(2)");
    sql_ok(&m->f, "INSERT INTO n VALUES(3); UPDATE tt SET v='x'");
    char *log = strdup(buf_text(&m->f.log));
    forget_events(&m->f);
    expect_starts(log, OWN(100, "\"own\"") "table:");
    const char *gap = strstr(log, GAP), *altered = strstr(log, "table:altered tt {"),
               *created = strstr(log, "table:created n external\n");
    assert_true(gap && altered && created && altered < gap && created < gap);
    assert_string_equal(gap, GAP
        "INSERT n {\"rowid\":2} {\"a\":2} external\ncommit\n"
        "INSERT n {\"rowid\":3} {\"a\":3}\ncommit\n"
        "UPDATE tt {\"id\":100} {\"id\":100,\"v\":\"own\"} -> {\"id\":100,\"v\":\"x\"}\ncommit\n");
    free(log);
}

/* The frame does not even say whose it is: it takes until it can be read, and own work goes on. */
static void a_damaged_frame(void **state)
{
    struct mixed *m = *state;
    damage(m, "INSERT INTO t VALUES(1,'lost')", 8);
    usleep(50000);
    sql_ok(&m->f, "INSERT INTO t VALUES(4,'own')");
    sql_ok(&m->f, "CREATE TABLE mine(a); INSERT INTO mine VALUES(1)");
    other_ok(&m->o, "INSERT INTO t VALUES(5,'lost')");
    usleep(300000);
    turn_over_last_frame(m, true);
    await_gap(m);
    sql_ok(&m->f, "INSERT INTO t VALUES(6,'own')");
    other_ok(&m->o, "INSERT INTO mine VALUES(2)");
    await_events(&m->f,
        OWN(100, "\"own\"") OWN(
            4, "\"own\"") "table:created mine\ncommit\n"
                          "INSERT mine {\"rowid\":1} {\"a\":1}\ncommit\n" GAP OWN(6,
                              "\"own\"") "INSERT mine {\"rowid\":2} {\"a\":2} external\ncommit\n");
    assert_int_equal(m->f.gaps, 1);
}

/* Nobody resumes across a gap: it has a number of its own, which is no change's. */
static void its_number(void **state)
{
    struct mixed *m = *state;
    uint64_t seq = fixture_seq(&m->f);
    damage(m, "INSERT INTO t VALUES(1,'lost')", FRAME_HEADER);
    await_gap(m);
    assert_int_equal(fixture_seq(&m->f), seq + 2);
    assert_int_equal(database_seq(m->f.db), seq + 2);
    turn_over_last_frame(m, true);
    const char *said = sql_ok(&m->f, "INSERT INTO t VALUES(2,'own')");
    char expected[32];
    snprintf(expected, sizeof(expected), "\"seq\":%llu}", (unsigned long long)seq + 3);
    assert_non_null(strstr(said, expected));
}

/* A log that was restarted behind our back: a follower without a database. */

struct alone {
    struct fixture files;
    struct other o;
    struct follower f;
    struct schema *known;
    struct buf text;
    uint64_t seq, tx;
};

static struct schema *known(void *ctx)
{
    return ((struct alone *)ctx)->known;
}

static void set_known(void *ctx, struct schema *schema)
{
    struct alone *a = ctx;
    schema_ref(schema);
    schema_unref(a->known);
    a->known = schema;
}

static int hand_on(void *ctx)
{
    struct alone *a = ctx;
    if (!a->f.ready)
        return STATUS_OK;
    batch_seal(a->f.ready, &a->seq, &a->tx);
    write_batch(&a->text, a->f.ready);
    follower_taken(&a->f);
    return STATUS_OK;
}

static int gap(void *ctx, const char *reason)
{
    buf_printf(&((struct alone *)ctx)->text, "gap %s\n", reason);
    return STATUS_OK;
}

static void passed(void *ctx)
{
    (void)ctx;
}

static const atomic_bool never;

static int alone_set_up(void **state)
{
    static const struct follower_ops ops = {
        .known = known, .set_known = set_known, .hand_on = hand_on, .gap = gap, .passed = passed};
    struct alone *a = calloc(1, sizeof(*a));
    fixture_init(&a->files);
    other_start(&a->o, a->files.path);
    other_ok(&a->o, "PRAGMA journal_mode=WAL");
    other_ok(&a->o, "PRAGMA busy_timeout=0");
    other_ok(&a->o, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    assert_int_equal(follower_open(&a->f, a->files.path, true, &never, &ops, a), SQLITE_OK);
    assert_int_equal(tracker_read_trees(&a->f.tracker, NULL), STATUS_OK);
    set_known(a, a->f.tracker.trees->schema);
    follower_start(&a->f);
    *state = a;
    return 0;
}

static int alone_tear_down(void **state)
{
    struct alone *a = *state;
    follower_close(&a->f);
    schema_unref(a->known);
    other_end(&a->o);
    buf_fini(&a->text);
    fixture_fini(&a->files);
    free(a);
    return 0;
}

static void expect_text(struct alone *a, const char *expected)
{
    while (follower_run(&a->f))
        ;
    settle_run(&a->f, false);
    assert_string_equal(a->text.len ? buf_text(&a->text) : "", expected);
    buf_reset(&a->text);
}

static void lose_pins(struct alone *a)
{
    for (int i = 0; i < 2; i++) {
        struct tracker_pin *p = &a->f.tracker.pins[i];
        if (p->begun)
            assert_int_equal(sqlconn_run(&p->conn, OWN_ROLLBACK), SQLITE_OK);
        p->begun = false;
    }
}

static void a_restarted_log(void **state)
{
    struct alone *a = *state;
    for (int i = 0; i < 3; i++) {
        other_ok(&a->o, "DELETE FROM t");
        other_ok(&a->o, "INSERT INTO t VALUES(1,'a')");
        expect_text(
            a, i ? "DELETE t {\"id\":2} " ROW(2, "\"b\"") " external\ncommit\n" OTHERS(1, "\"a\"")
                 : OTHERS(1, "\"a\""));
        lose_pins(a);
        assert_int_equal(other_ok(&a->o, "PRAGMA wal_checkpoint(TRUNCATE)")[0], '0');
        other_ok(&a->o, "BEGIN; CREATE TABLE n%d(a); UPDATE t SET id=2, v='b'; COMMIT", i);
        other_ok(&a->o, "INSERT INTO n%d VALUES(1)", i);
        char expected[64];
        snprintf(expected, sizeof(expected), "table:created n%d external\ncommit\n" GAP, i);
        expect_text(a, expected);
        a->f.next_gap_ms = 0; /* long after */
        other_ok(&a->o, "UPDATE n%d SET a=2", i);
        snprintf(expected, sizeof(expected), "UPDATE n%d {\"rowid\":1} {\"a\":1} -> {\"a\":2}", i);
        while (follower_run(&a->f))
            ;
        expect_starts(buf_text(&a->text), expected);
        buf_reset(&a->text);
    }
}

/* One gap after the other is announced together. */
static void gaps_in_a_row(void **state)
{
    struct alone *a = *state;
    for (int i = 0; i < 5; i++) {
        lose_pins(a);
        assert_int_equal(other_ok(&a->o, "PRAGMA wal_checkpoint(TRUNCATE)")[0], '0');
        other_ok(&a->o, "INSERT INTO t(v) VALUES('a')");
        expect_text(a, i ? "" : GAP);
        a->f.next_gap_ms = INT64_MAX; /* however long the disk takes */
    }
    a->f.next_gap_ms = 0;
    expect_text(a, GAP);
    assert_false(a->f.lost);
    other_ok(&a->o, "INSERT INTO t VALUES(9,'a')");
    expect_text(a, OTHERS(9, "\"a\""));
}

/* No memory. */

#define MOST_ALLOCATIONS 20000

static bool own(struct mixed *m, const char *sql)
{
    struct sql_request r = {0};
    bool there = sql_request_add(&r, sql, strlen(sql)) != NULL;
    if (there)
        database_execute(m->f.db, &r);
    bool done = there && (!r.error.code[0] || strstr(r.error.message, "the work was done"));
    sql_request_fini(&r);
    return done;
}

static size_t log_length(struct mixed *m, unsigned *gaps)
{
    pthread_mutex_lock(&m->f.lock);
    size_t len = m->f.log.len;
    *gaps = m->f.gaps;
    pthread_mutex_unlock(&m->f.lock);
    return len;
}

/* Whether an allocation failed. */
static bool sweep(struct mixed *m, long n)
{
    char expected[1024];
    unsigned before, gaps;
    log_length(m, &before);
    mem_fail_after(n);
    other_ok(&m->o, "INSERT INTO t VALUES(1,'a')");
    bool first = own(m, "INSERT INTO t VALUES(2,'b')");
    other_ok(&m->o, "BEGIN; CREATE TABLE x(a); INSERT INTO x VALUES(1); COMMIT");
    bool second = own(m, "INSERT INTO x VALUES(2)");
    other_ok(&m->o, "DROP TABLE x");
    other_ok(&m->o, "DELETE FROM t");
    snprintf(expected, sizeof(expected),
        "%s%stable:created x external\nINSERT x {\"rowid\":1} {\"a\":1} external\ncommit\n"
        "%stable:dropped x external\ncommit\n%s%scommit\n",
        OTHERS(1, "\"a\""), first ? OWN(2, "\"b\"") : "",
        second ? "INSERT x {\"rowid\":2} {\"a\":2}\ncommit\n" : "",
        "DELETE t {\"id\":1} " ROW(1, "\"a\"") " external\n",
        first ? "DELETE t {\"id\":2} " ROW(2, "\"b\"") " external\n" : "");
    size_t wanted = strlen(expected), len = log_length(m, &gaps);
    for (int i = 0; i < 5000 && len < wanted && gaps == before; i++) {
        usleep(200);
        len = log_length(m, &gaps);
    }
    bool hit = mem_fail_hit();
    mem_fail_after(-1);
    if (gaps == before) {
        expect_events(&m->f, expected);
        return hit;
    }
    assert_true(hit);
    /* Whatever was lost, what comes now is right. */
    usleep(20000);
    sql_ok(&m->f, "INSERT INTO t VALUES(7,'own')");
    forget_events(&m->f);
    other_ok(&m->o, "UPDATE t SET v='z'");
    await_events(&m->f,
        "UPDATE t {\"id\":7} " ROW(7, "\"own\"") " -> " ROW(7, "\"z\"") " external\ncommit\n");
    sql_ok(&m->f, "DELETE FROM t");
    forget_events(&m->f);
    return true;
}

static void no_memory(void **state)
{
    struct mixed *m = *state;
    int misses = 0;
    other_ok(&m->o, "PRAGMA synchronous=OFF");
    /* The follower's rhythm varies a little, and so does the number of allocations. */
    for (long n = 0; misses < 5; n++) {
        misses = sweep(m, n) ? 0 : misses + 1;
        assert_true(n < MOST_ALLOCATIONS);
        if (misses == 5)
            print_message("# %ld allocations, %u gaps\n", n, m->f.gaps);
    }
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
    if (!sqlite_memory_counts())
        return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, mixed_set_up, mixed_tear_down)
#define ALONE(name) cmocka_unit_test_setup_teardown(name, alone_set_up, alone_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_damaged_page),
        TEST(a_damaged_page_and_a_table),
        TEST(a_damaged_frame),
        TEST(its_number),
        ALONE(a_restarted_log),
        ALONE(gaps_in_a_row),
        TEST(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
