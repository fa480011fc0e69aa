#include "mixed.h"

#include "base/clock.h"
#include "capture/database_parts.h"
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Requests that whoever asks runs himself, while the database thread rests. */

#define MS INT64_C(1000000)

static void pause_ms(int ms)
{
    usleep((useconds_t)ms * 1000);
}

static void never(struct sql_request *r)
{
    (void)r;
    fail();
}

static struct sql_request *insert(struct sql_request *r, int id)
{
    char sql[64];
    *r = (struct sql_request){.done = never};
    snprintf(sql, sizeof(sql), "INSERT INTO t VALUES(%d,'own')", id);
    assert_non_null(sql_request_add(r, sql, strlen(sql)));
    return r;
}

/* The thread rests between two looks at the log; how often it did not. */
static int stand_in(struct mixed *m, int id)
{
    struct sql_request r;
    int refused = 0;
    insert(&r, id);
    while (!database_thread_stand_in(m->f.db, &r) && refused < 10000) {
        pause_ms(1);
        refused++;
    }
    assert_true(refused < 10000);
    assert_int_equal(r.changes, 1);
    assert_string_equal(r.error.code, "");
    expect_starts(buf_text(&r.json), "{\"columns\":[],\"rows\":[],\"changes\":1");
    assert_ptr_equal(r.done, never);
    sql_request_fini(&r);
    return refused;
}

static void published_before_it_returns(void **state)
{
    struct mixed *m = *state;
    stand_in(m, 1);
    expect_events(&m->f, OWN(1, "\"own\""));
    other_ok(&m->o, "INSERT INTO t VALUES(2,'other')");
    stand_in(m, 3);
    expect_events(&m->f, OTHERS(2, "\"other\"") OWN(3, "\"own\""));
}

static void *execute(void *arg)
{
    sql_ok(arg, "INSERT INTO t VALUES(1,'own')");
    return NULL;
}

/* Who cannot have the duty is not refused, but posted, and has his turn. */
static void posted_where_it_is_taken(void **state)
{
    struct mixed *m = *state;
    struct sql_request r;
    pthread_t thread;
    pthread_mutex_lock(&m->f.db->duty);
    assert_false(database_thread_stand_in(m->f.db, insert(&r, 2)));
    pthread_create(&thread, NULL, execute, &m->f);
    while (!mailbox_waits(&m->f.db->mailbox))
        pause_ms(1);
    expect_events(&m->f, "");
    pthread_mutex_unlock(&m->f.db->duty);
    pthread_join(thread, NULL);
    expect_events(&m->f, OWN(1, "\"own\""));
    sql_request_fini(&r);
}

static void the_thread_comes_first(void **state)
{
    struct mixed *m = *state;
    struct sql_request r;
    int refused = 0;
    pthread_mutex_lock(&m->f.db->duty);
    database_thread_nudge(m->f.db);
    while (!atomic_load(&m->f.db->duty_wanted))
        pause_ms(1);
    pthread_mutex_unlock(&m->f.db->duty);
    stand_in(m, 1);
    /* As if it had woken and did not have the duty yet; it may really do so in between. */
    for (int i = 0; i < 10; i++) {
        pause_ms(10); /* what it was woken for is done */
        atomic_store(&m->f.db->duty_wanted, true);
        refused += !database_thread_stand_in(m->f.db, insert(&r, 2 + i));
        sql_request_fini(&r);
    }
    assert_in_range(refused, 8, 10);
    atomic_store(&m->f.db->duty_wanted, false);
}

/* What writes much is left to the thread, and for some time whatever follows. */
static void large_ones_are_posted(void **state)
{
    struct mixed *m = *state;
    static const char many[] = "WITH g(n) AS (VALUES(1000) UNION ALL SELECT n+1 FROM g LIMIT 1000) "
                               "INSERT INTO t SELECT n, 'many' FROM g";
    struct sql_request r = {0};
    char *blob = calloc(1, 20000);
    struct value text = {.p = blob, .len = 20000, .type = VALUE_BLOB};
    m->f.quiet = true;
    struct sql_statement *s = sql_request_add(&r, "INSERT INTO t VALUES(9,?)", 25);
    assert_int_equal(sql_statement_bind(s, NULL, &text), 0);
    for (int i = 0; i < 20; i++) {
        assert_false(database_thread_stand_in(m->f.db, &r));
        pause_ms(1);
    }
    sql_request_fini(&r);
    free(blob);
    stand_in(m, 1);
    assert_int_equal(m->f.db->large_ns, 0);
    r = (struct sql_request){.done = never};
    assert_non_null(sql_request_add(&r, many, strlen(many)));
    while (!database_thread_stand_in(m->f.db, &r))
        pause_ms(1);
    assert_int_equal(r.changes, 1000);
    sql_request_fini(&r);
    assert_false(database_thread_stand_in(m->f.db, insert(&r, 2)));
    sql_request_fini(&r);
    sql_ok(&m->f, "INSERT INTO t VALUES(2,'own')");
    assert_true(stand_in(m, 3) > 0);
}

/* How often the database thread has gone to sleep; -1: not known. */
static long sleeps(void)
{
    char path[64], line[128];
    long count = -1;
    DIR *dir = opendir("/proc/self/task");
    struct dirent *e;
    while (dir && count < 0 && (e = readdir(dir))) {
        bool found = false;
        snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", e->d_name);
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof(line), f)) {
            found |= strcmp(line, "Name:\tdatabase\n") == 0;
            if (found)
                sscanf(line, "voluntary_ctxt_switches: %ld", &count);
        }
        if (f)
            fclose(f);
    }
    if (dir)
        closedir(dir);
    return count;
}

/* It would be told of every write to the log. */
static void the_thread_sleeps_on(void **state)
{
    struct mixed *m = *state;
    pause_ms(300);
    long before = sleeps();
    if (before < 0)
        skip();
    for (int i = 0; i < 40; i++) {
        stand_in(m, i);
        pause_ms(4);
    }
    /* It looks by itself, four times a second, and a little more often after that. */
    assert_in_range(sleeps() - before, 0, 25);
}

static void intrude(struct fixture *f, struct batch *b)
{
    struct mixed *m = (struct mixed *)f;
    (void)b;
    fixture_listen(f, NULL, true);
    other_ok(&m->o, "INSERT INTO t VALUES(%d,'other')", 1000000 + (int)f->seq);
}

/* After our commit, and before what we are told of it is heard: it is told in one with ours. */
static void others_are_heard(void **state)
{
    struct mixed *m = *state;
    int late = 0;
    for (int i = 0; i < 20; i++) {
        uint64_t seq = fixture_seq(&m->f);
        pause_ms(80); /* until the thread has no cause left to look soon */
        fixture_listen(&m->f, intrude, true);
        stand_in(m, i);
        int64_t began = clock_mono_ns();
        while (fixture_seq(&m->f) < seq + 2)
            usleep(200);
        late += clock_mono_ns() - began > 50 * MS;
    }
    assert_in_range(late, 0, 5);
}

/* The log is copied, and begun anew, though nobody posts anything. */
static void the_log_is_kept_short(void **state)
{
    struct mixed *m = *state;
    struct database_stats s;
    m->f.quiet = true;
    sql_ok(&m->f, "CREATE TABLE large(v)");
    for (int i = 0; i < 400; i++) {
        sql_ok(&m->f, "INSERT INTO large VALUES(zeroblob(100000))");
        pause_ms(3);
    }
    database_stats(m->f.db, &s);
    assert_true(s.restarts > 0);
    assert_in_range(s.wal_bytes, 1, 6 << 20);
}

int main(int argc, char **argv)
{
    other_main(argc, argv);
#define TEST(f) cmocka_unit_test_setup_teardown(f, mixed_set_up, mixed_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(published_before_it_returns),
        TEST(posted_where_it_is_taken),
        TEST(the_thread_comes_first),
        TEST(large_ones_are_posted),
        TEST(the_thread_sleeps_on),
        TEST(others_are_heard),
        TEST(the_log_is_kept_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
