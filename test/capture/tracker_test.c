#include "other.h"

#include "base/clock.h"
#include "base/status.h"
#include "capture/decode.h"
#include "fixture.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A place in the log of a real file, while another process commits, makes checkpoints and restarts
 * the log.
 */
struct followed {
    struct fixture files; /* its directory and path only */
    struct tracker t;
    struct other o;
    struct buf text;
};

static const atomic_bool never;

static void start(struct followed *f, const char *sql)
{
    memset(f, 0, sizeof(*f));
    fixture_init(&f->files);
    other_start(&f->o, f->files.path);
    other_ok(&f->o, "PRAGMA journal_mode=WAL");
    other_ok(&f->o, "PRAGMA wal_autocheckpoint=0");
    other_ok(&f->o, "%s", sql);
}

static void follow(struct followed *f)
{
    assert_int_equal(tracker_open(&f->t, f->files.path, true, &never), SQLITE_OK);
}

static int set_up(void **state)
{
    struct followed *f = malloc(sizeof(*f));
    start(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    follow(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct followed *f = *state;
    tracker_close(&f->t);
    other_end(&f->o);
    buf_fini(&f->text);
    fixture_fini(&f->files);
    free(f);
    return 0;
}

static struct wal_shm index_now(struct followed *f)
{
    struct wal_shm now;
    assert_true(tracker_index(&f->t, &now));
    return now;
}

/* Decodes the next commit, which must be there. */
static void take(struct followed *f)
{
    uint32_t end;
    bool own;
    struct wal_output out = {.batch = batch_new(0)};
    assert_int_equal(tracker_look(&f->t), 1);
    assert_int_equal(tracker_next(&f->t, &end, &own), 1);
    assert_false(own);
    assert_int_equal(tracker_read_trees(&f->t, NULL), STATUS_OK);
    assert_int_equal(decode_commit(&f->t, end, &out), STATUS_OK);
    assert_int_equal(f->t.frame, end);
    write_batch(&f->text, out.batch);
    batch_unref(out.batch);
}

static void expect_text(struct followed *f, const char *expected)
{
    assert_string_equal(buf_text(&f->text), expected);
    buf_reset(&f->text);
}

/* One commit and nothing after it. */
static void expect_commit(struct followed *f, const char *expected)
{
    take(f);
    expect_text(f, expected);
    assert_int_equal(tracker_look(&f->t), 0);
}

#define INSERTED(id, v) "INSERT t {\"id\":" #id "} {\"id\":" #id ",\"v\":" #v "} external\ncommit\n"
#define UPDATED(id, old, v)                                                                        \
    "UPDATE t {\"id\":" #id "} {\"id\":" #id ",\"v\":" #old "} -> {\"id\":" #id ",\"v\":" #v       \
    "} external\ncommit\n"

/* The place at the start. */

static void a_log_with_frames(void **state)
{
    struct followed *f = *state;
    assert_true(f->t.frame > 0);
    assert_int_equal(f->t.frame, index_now(f).frames);
    assert_int_equal(tracker_look(&f->t), 0);
    assert_false(tracker_parked(&f->t));
    other_ok(&f->o, "INSERT INTO t VALUES(1,'a')");
    expect_commit(f, INSERTED(1, "a"));
}

static void an_empty_log(void **state)
{
    struct followed *f = *state;
    tracker_close(&f->t);
    other_end(&f->o); /* the last one removes the log */
    other_start(&f->o, f->files.path);
    follow(f);
    assert_int_equal(f->t.frame, 0);
    assert_true(tracker_parked(&f->t));
    assert_int_equal(tracker_look(&f->t), 0);
    other_ok(&f->o, "INSERT INTO t VALUES(1,'a')");
    expect_commit(f, INSERTED(1, "a"));
    assert_false(tracker_parked(&f->t));
    other_ok(&f->o, "UPDATE t SET v='b'");
    expect_commit(f, UPDATED(1, "a", "b"));
}

/* Frames that are all copied stay in the log until somebody writes. */
static void a_copied_log(void **state)
{
    struct followed *f = *state;
    tracker_close(&f->t);
    other_ok(&f->o, "PRAGMA wal_checkpoint(PASSIVE)");
    follow(f);
    assert_true(f->t.frame > 0);
    assert_true(tracker_parked(&f->t));
    other_ok(&f->o, "INSERT INTO t VALUES(1,'a')");
    expect_commit(f, INSERTED(1, "a"));
    assert_int_equal(f->t.frame, index_now(f).frames);
    assert_true(f->t.frame <= 2);
}

static void an_empty_database(void **state)
{
    struct followed *f = *state;
    tracker_close(&f->t);
    other_ok(&f->o, "DROP TABLE t");
    other_ok(&f->o, "VACUUM");
    follow(f);
    assert_int_equal(tracker_look(&f->t), 0);
    other_ok(&f->o, "BEGIN; CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1,2); "
                    "COMMIT");
    expect_commit(f, "table:created t external\n" INSERTED(1, 2));
}

/* Commits. */

static void one_by_one(void **state)
{
    struct followed *f = *state;
    char expected[4096] = "";
    for (int i = 1; i <= 9; i++) {
        other_ok(&f->o, "BEGIN; INSERT INTO t VALUES(%d,zeroblob(0)); INSERT INTO t VALUES(%d,'')",
            i, i + 100);
        assert_int_equal(tracker_look(&f->t), i > 1);
        other_ok(&f->o, "COMMIT");
        size_t len = strlen(expected);
        snprintf(expected + len, sizeof(expected) - len,
            "INSERT t {\"id\":%d} {\"id\":%d,\"v\":{\"$base64\":\"\"}} external\n"
            "INSERT t {\"id\":%d} {\"id\":%d,\"v\":\"\"} external\ncommit\n",
            i, i, i + 100, i + 100);
    }
    for (int i = 1; i <= 9; i++)
        take(f);
    expect_text(f, expected);
    assert_int_equal(tracker_look(&f->t), 0);
}

/* What is rolled back, or never ended, is not there; its frames are written over. */
static void rolled_back_and_killed(void **state)
{
    struct followed *f = *state;
    struct other victim;
    other_ok(&f->o, "PRAGMA cache_size=1");
    other_ok(&f->o, "BEGIN; INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 "
                    "FROM n WHERE i<500) SELECT i, zeroblob(500) FROM n");
    assert_int_equal(tracker_look(&f->t), 0);
    other_ok(&f->o, "ROLLBACK");
    assert_int_equal(tracker_look(&f->t), 0);
    other_start(&victim, f->files.path);
    other_ok(&victim, "PRAGMA cache_size=1");
    other_ok(&victim, "BEGIN; INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 "
                      "FROM n WHERE i<500) SELECT i, zeroblob(500) FROM n");
    other_kill(&victim);
    assert_int_equal(tracker_look(&f->t), 0);
    other_ok(&f->o, "INSERT INTO t VALUES(1,'a')");
    expect_commit(f, INSERTED(1, "a"));
}

static void own_ones_are_told(void **state)
{
    struct followed *f = *state;
    uint32_t ends[4], end;
    bool own;
    /* Noted out of step with what is passed; more than it has room for at first. */
    for (int i = 0; i < 4; i++) {
        other_ok(&f->o, "INSERT INTO t VALUES(%d,'a')", i + 1);
        ends[i] = index_now(f).frames;
        if (i % 2 == 1)
            assert_int_equal(tracker_note_own(&f->t, ends[i]), STATUS_OK);
    }
    take(f);
    assert_int_equal(tracker_next(&f->t, &end, &own), 1);
    assert_true(own);
    assert_int_equal(end, ends[1]);
    tracker_pass(&f->t, end);
    take(f);
    assert_int_equal(tracker_next(&f->t, &end, &own), 1);
    assert_true(own);
    tracker_pass(&f->t, end);
    assert_int_equal(tracker_next(&f->t, &end, &own), 0);
    expect_text(f, INSERTED(1, "a") INSERTED(3, "a"));
    for (int i = 0; i < 40; i++) {
        other_ok(&f->o, "UPDATE t SET v='%d' WHERE id=1", i);
        assert_int_equal(tracker_note_own(&f->t, index_now(f).frames), STATUS_OK);
    }
    while (tracker_next(&f->t, &end, &own) == 1) {
        assert_true(own);
        tracker_pass(&f->t, end);
    }
    assert_int_equal(f->t.own_count, 0);
    other_ok(&f->o, "UPDATE t SET v='z' WHERE id=1");
    expect_commit(f, UPDATED(1, "39", "z"));
}

static void others_in_a_transaction(void **state)
{
    struct followed *f = *state;
    for (int i = 0; i < 3; i++) {
        assert_false(tracker_others_write(&f->t));
        other_ok(&f->o, "BEGIN");
        assert_false(tracker_others_write(&f->t));
        other_ok(&f->o, "INSERT INTO t VALUES(%d,'a')", i);
        assert_true(tracker_others_write(&f->t));
        other_ok(&f->o, i < 2 ? "COMMIT" : "ROLLBACK");
    }
}

/* Pins. */

static const char *const modes[] = {"PASSIVE", "FULL", "RESTART", "TRUNCATE"};

static void nothing_past_the_pin_is_copied(void **state)
{
    struct followed *f = *state;
    other_ok(&f->o, "PRAGMA busy_timeout=0");
    other_ok(&f->o, "INSERT INTO t VALUES(1,0)");
    take(f);
    tracker_repin(&f->t);
    uint32_t upto = f->t.frame;
    assert_int_equal(tracker_lag(&f->t), 0);
    for (int i = 0; i < 20; i++) {
        other_ok(&f->o, "UPDATE t SET v=%d", i + 1);
        other_ok(&f->o, "PRAGMA wal_checkpoint(%s)", modes[i % 4]);
        assert_true(index_now(f).copied <= upto);
    }
    buf_reset(&f->text);
    for (int i = 0; i < 20; i++) {
        char expected[160];
        take(f);
        snprintf(expected, sizeof(expected),
            "UPDATE t {\"id\":1} {\"id\":1,\"v\":%d} -> {\"id\":1,\"v\":%d} external\ncommit\n", i,
            i + 1);
        expect_text(f, expected);
    }
    assert_true(tracker_lag(&f->t) > 0);
    tracker_repin(&f->t);
    assert_int_equal(tracker_lag(&f->t), 0);
    other_ok(&f->o, "PRAGMA wal_checkpoint(PASSIVE)");
    assert_int_equal(index_now(f).copied, f->t.frame);
}

/* A pin that is to follow counts only where nothing before it is needed. */
static void the_next_pin_waits(void **state)
{
    struct followed *f = *state;
    uint32_t from = f->t.frame;
    other_ok(&f->o, "PRAGMA busy_timeout=0");
    for (int i = 1; i <= 3; i++)
        other_ok(&f->o, "INSERT INTO t VALUES(%d,'a')", i);
    tracker_repin(&f->t);
    other_ok(&f->o, "UPDATE t SET v='b'");
    for (int i = 0; i < 4; i++) {
        other_ok(&f->o, "PRAGMA wal_checkpoint(%s)", modes[i]);
        if (i < 3)
            assert_true(index_now(f).copied <= from);
        else
            assert_true(index_now(f).copied > from);
        take(f);
    }
    expect_text(f,
        INSERTED(1, "a") INSERTED(2, "a") INSERTED(3,
            "a") "UPDATE t {\"id\":1} {\"id\":1,\"v\":\"a\"} -> {\"id\":1,\"v\":\"b\"} external\n"
                 "UPDATE t {\"id\":2} {\"id\":2,\"v\":\"a\"} -> {\"id\":2,\"v\":\"b\"} "
                 "external\n" UPDATED(3, "a", "b"));
    assert_int_equal(f->t.pins[1 - f->t.held].begun, false);
}

/* One that began while others committed may stand before the end; then it counts as lagging. */
static void a_pin_that_lags_is_known(void **state)
{
    struct followed *f = *state;
    int lagged = 0;
    other_ok(&f->o, "PRAGMA synchronous=OFF");
    other_ok(&f->o, "PRAGMA busy_timeout=0");
    for (int i = 0; i < 300; i++) {
        other_ok(&f->o, "INSERT INTO t(v) VALUES('a')");
        take(f);
        other_send(&f->o, "INSERT INTO t(v) VALUES('a')");
        while (tracker_look(&f->t) == 0)
            tracker_repin(&f->t);
        other_wait(&f->o);
        take(f);
        bool lags = tracker_lag(&f->t) > 0;
        lagged += lags && f->t.pins[f->t.held].upto == f->t.frame;
        if (lags)
            tracker_repin(&f->t);
        const char *said = other_ok(&f->o, "PRAGMA wal_checkpoint(FULL)");
        if (said[0] != '0')
            fail_msg("round %d: %s", i, said);
        buf_reset(&f->text);
    }
    print_message("# %d pins began behind the end\n", lagged);
}

/* Parking. */

static void park(struct followed *f)
{
    tracker_repin(&f->t);
    tracker_checkpoint(&f->t);
    assert_true(tracker_park(&f->t));
    assert_true(tracker_parked(&f->t));
}

static void the_next_writer_restarts(void **state)
{
    struct followed *f = *state;
    uint8_t salt[WAL_SALT];
    for (int i = 1; i <= 5; i++) {
        memcpy(salt, f->t.log.salt, WAL_SALT);
        park(f);
        assert_int_equal(tracker_look(&f->t), 0);
        other_ok(&f->o, "INSERT INTO t VALUES(1,'a')");
        expect_commit(f, INSERTED(1, "a"));
        assert_memory_not_equal(salt, f->t.log.salt, WAL_SALT);
        assert_false(tracker_parked(&f->t));
        other_ok(&f->o, "DELETE FROM t");
        expect_commit(f, "DELETE t {\"id\":1} {\"id\":1,\"v\":\"a\"} external\ncommit\n");
        assert_true(f->t.frame < 5);
    }
}

/* While parked nobody copies what came after, so the old pages in the file stay right. */
static void parked_pages_stay(void **state)
{
    struct followed *f = *state;
    other_ok(&f->o, "INSERT INTO t VALUES(1,0)");
    take(f);
    buf_reset(&f->text);
    park(f);
    other_ok(&f->o, "PRAGMA busy_timeout=0");
    for (int i = 0; i < 8; i++) {
        other_ok(&f->o, "UPDATE t SET v=v+1");
        other_ok(&f->o, "PRAGMA wal_checkpoint(%s)", modes[i % 4]);
        assert_int_equal(index_now(f).copied, 0);
    }
    take(f);
    expect_text(f, UPDATED(1, 0, 1));
    for (int i = 0; i < 7; i++)
        take(f);
    assert_int_equal(tracker_look(&f->t), 0);
    buf_reset(&f->text);
    other_ok(&f->o, "UPDATE t SET v='end'");
    expect_commit(f, UPDATED(1, 8, "end"));
}

/* The generation changes without a frame, several times. */
static void restarted_while_parked(void **state)
{
    struct followed *f = *state;
    uint8_t salt[WAL_SALT];
    other_ok(&f->o, "INSERT INTO t VALUES(1,'a')");
    take(f);
    buf_reset(&f->text);
    for (int i = 0; i < 12; i++) {
        park(f);
        memcpy(salt, f->t.log.salt, WAL_SALT);
        int times = 1 + i % 3;
        while (times-- > 0)
            assert_string_equal(
                other_ok(&f->o, "PRAGMA wal_checkpoint(%s)", modes[2 + i / 3 % 2])[0] == '0' ? "0"
                                                                                             : "1",
                "0");
        if (i % 2 == 1)
            assert_int_equal(tracker_look(&f->t), 0);
        other_ok(&f->o, "UPDATE t SET v='%s' WHERE v='%s'", i % 2 ? "a" : "b", i % 2 ? "b" : "a");
        if (i % 2)
            expect_commit(f, UPDATED(1, "b", "a"));
        else
            expect_commit(f, UPDATED(1, "a", "b"));
        assert_memory_not_equal(salt, f->t.log.salt, WAL_SALT);
    }
}

/* Somebody else reads from the log, so it goes on behind the parked pin. */
static void not_restarted_while_parked(void **state)
{
    struct followed *f = *state;
    struct other reader;
    other_start(&reader, f->files.path);
    other_ok(&reader, "BEGIN; SELECT count(*) FROM t");
    park(f);
    uint32_t at = f->t.frame;
    other_ok(&f->o, "INSERT INTO t VALUES(1,'a')");
    expect_commit(f, INSERTED(1, "a"));
    assert_true(f->t.frame > at);
    assert_false(tracker_parked(&f->t));
    other_ok(&f->o, "PRAGMA wal_checkpoint(PASSIVE)");
    other_ok(&f->o, "UPDATE t SET v='b'");
    expect_commit(f, UPDATED(1, "a", "b"));
    other_end(&reader);
    park(f);
    other_ok(&f->o, "UPDATE t SET v='c'");
    expect_commit(f, UPDATED(1, "b", "c"));
    assert_true(f->t.frame < at);
}

static void a_parked_one_moves_on(void **state)
{
    struct followed *f = *state;
    park(f);
    other_ok(&f->o, "INSERT INTO t VALUES(1,'a')");
    take(f);
    assert_false(tracker_park(&f->t)); /* not copied yet: nobody can */
    tracker_repin(&f->t);
    assert_int_equal(tracker_lag(&f->t), 0);
    assert_false(tracker_parked(&f->t));
    tracker_checkpoint(&f->t);
    assert_int_equal(index_now(f).copied, f->t.frame);
    assert_false(tracker_parked(&f->t));
    assert_true(tracker_park(&f->t));
}

/* Moved on between the other's commit and our look at it. */
static void the_next_pin_may_be_of_the_next_log(void **state)
{
    struct followed *f = *state;
    other_ok(&f->o, ".times 3 INSERT INTO t(v) VALUES('x')");
    for (int i = 0; i < 3; i++)
        take(f);
    buf_reset(&f->text);
    park(f);
    other_ok(&f->o, "INSERT INTO t VALUES(4,'a')");
    tracker_repin(&f->t);
    other_ok(&f->o, "INSERT INTO t VALUES(5,'b')");
    take(f);
    take(f);
    expect_text(f, INSERTED(4, "a") INSERTED(5, "b"));
    tracker_repin(&f->t);
    assert_int_equal(tracker_lag(&f->t), 0);
}

static void not_before_all_is_known(void **state)
{
    struct followed *f = *state;
    other_ok(&f->o, "INSERT INTO t VALUES(1,'a')");
    tracker_checkpoint(&f->t);
    assert_false(tracker_park(&f->t));
    take(f);
    other_ok(&f->o, "INSERT INTO t VALUES(2,'a')");
    tracker_repin(&f->t);
    tracker_checkpoint(&f->t);
    assert_false(tracker_park(&f->t));
    assert_false(tracker_parked(&f->t));
    take(f);
    expect_text(f, INSERTED(1, "a") INSERTED(2, "a"));
}

/* Gaps. */

static void end_pins(struct followed *f)
{
    for (int i = 0; i < 2; i++) {
        if (f->t.pins[i].begun)
            assert_int_equal(sqlconn_run(&f->t.pins[i].conn, OWN_ROLLBACK), SQLITE_OK);
        f->t.pins[i].begun = false;
    }
}

static void a_log_restarted_otherwise(void **state)
{
    struct followed *f = *state;
    for (int i = 0; i < 6; i++) {
        other_ok(&f->o, "INSERT INTO t(v) VALUES('a')");
        if (i % 2)
            take(f);
        end_pins(f);
        assert_int_equal(other_ok(&f->o, "PRAGMA wal_checkpoint(%s)", modes[2 + i % 2])[0], '0');
        other_ok(&f->o, "INSERT INTO t(v) VALUES('b')");
        assert_int_equal(tracker_look(&f->t), STATUS_CONFLICT);
        assert_int_equal(tracker_look(&f->t), STATUS_CONFLICT);
        assert_int_equal(tracker_jump(&f->t), SQLITE_OK);
        assert_int_equal(tracker_look(&f->t), 0);
        buf_reset(&f->text);
    }
    other_ok(&f->o, "INSERT INTO t(v) VALUES('c')");
    expect_commit(f, INSERTED(13, "c"));
}

/* Parked once, but then some of the new log was read. */
static void a_log_restarted_after_parking(void **state)
{
    struct followed *f = *state;
    park(f);
    other_ok(&f->o, "INSERT INTO t VALUES(1,'a')");
    expect_commit(f, INSERTED(1, "a"));
    end_pins(f);
    assert_int_equal(other_ok(&f->o, "PRAGMA wal_checkpoint(TRUNCATE)")[0], '0');
    assert_int_equal(tracker_look(&f->t), STATUS_CONFLICT);
}

/* A pin that begins while others commit and make checkpoints. */

struct storm {
    const char *path;
    const char *sql;
    useconds_t pause_us;
    atomic_bool end;
    pthread_t thread;
};

static void *blow(void *arg)
{
    struct storm *s = arg;
    struct other o;
    other_start(&o, s->path);
    other_ok(&o, "PRAGMA synchronous=OFF");
    while (!atomic_load(&s->end)) {
        other_try(&o, ".times 5 %s", s->sql);
        usleep(s->pause_us);
    }
    other_end(&o);
    return NULL;
}

/* The rows that it inserted. */
static uint64_t take_next(struct followed *f, int *restarts)
{
    uint64_t rows = 0;
    uint32_t end;
    bool own;
    uint8_t salt[WAL_SALT];
    memcpy(salt, f->t.log.salt, WAL_SALT);
    int status = tracker_look(&f->t);
    if (status < 0)
        fail_msg("the log was restarted behind a pin that did not count as parked");
    *restarts += memcmp(salt, f->t.log.salt, WAL_SALT) != 0;
    if (status == 0 || tracker_next(&f->t, &end, &own) != 1)
        return 0;
    struct wal_output out = {.batch = batch_new(0)};
    assert_int_equal(tracker_read_trees(&f->t, NULL), STATUS_OK);
    assert_int_equal(decode_commit(&f->t, end, &out), STATUS_OK);
    for (uint32_t i = 0; i < out.batch->change_count; i++)
        rows += out.batch->changes[i].kind == CHANGE_INSERT;
    batch_unref(out.batch);
    return rows;
}

static void pins_in_a_storm(void **state)
{
    struct followed *f = *state;
    struct storm storms[] = {
        {.sql = "INSERT INTO t(v) VALUES('a'); PRAGMA wal_checkpoint(PASSIVE)"},
        {.sql = "INSERT INTO t(v) SELECT 'b' WHERE random()%3=0; PRAGMA busy_timeout=0; "
                "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout=20000"},
        {.sql = "PRAGMA wal_checkpoint(PASSIVE)"},
        {.sql = "SELECT count(*) FROM t WHERE id<10"},
    };
    size_t count = sizeof(storms) / sizeof(*storms);
    uint64_t rows = 0;
    int parks = 0, restarts = 0;
    for (size_t i = 0; i < count; i++) {
        storms[i].path = f->files.path;
        storms[i].pause_us = (useconds_t)(700 + 300 * i);
        pthread_create(&storms[i].thread, NULL, blow, &storms[i]);
    }
    int64_t until = clock_mono_ns() + 3000000000, at_last = until + 30000000000;
    for (unsigned i = 0;
         clock_mono_ns() < until || ((parks == 0 || restarts == 0) && clock_mono_ns() < at_last);
         i++) {
        rows += take_next(f, &restarts);
        if (i % 2 == 0)
            tracker_repin(&f->t);
        if (i % 3 == 0)
            tracker_checkpoint(&f->t);
        parks += tracker_park(&f->t);
    }
    for (size_t i = 0; i < count; i++)
        atomic_store(&storms[i].end, true);
    for (size_t i = 0; i < count; i++)
        pthread_join(storms[i].thread, NULL);
    while (tracker_look(&f->t) == 1)
        rows += take_next(f, &restarts);
    print_message("# %llu rows, parked %d times, restarted %d times\n", (unsigned long long)rows,
        parks, restarts);
    assert_int_equal(rows, atoll(other_ok(&f->o, "SELECT count(*) FROM t")));
    assert_true(parks > 0 && restarts > 0);
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_log_with_frames),
        TEST(an_empty_log),
        TEST(a_copied_log),
        TEST(an_empty_database),
        TEST(one_by_one),
        TEST(rolled_back_and_killed),
        TEST(own_ones_are_told),
        TEST(others_in_a_transaction),
        TEST(nothing_past_the_pin_is_copied),
        TEST(the_next_pin_waits),
        TEST(a_pin_that_lags_is_known),
        TEST(the_next_writer_restarts),
        TEST(parked_pages_stay),
        TEST(restarted_while_parked),
        TEST(not_restarted_while_parked),
        TEST(a_parked_one_moves_on),
        TEST(the_next_pin_may_be_of_the_next_log),
        TEST(not_before_all_is_known),
        TEST(a_log_restarted_otherwise),
        TEST(a_log_restarted_after_parking),
        TEST(pins_in_a_storm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
