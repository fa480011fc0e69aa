#include "fixture.h"

#include "base/clock.h"
#include "base/mem.h"
#include "capture/cursor.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Results in pages: what comes, when it waits, and how it ends. */

#define NUMBERS(limit)                                                                             \
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n" limit ") SELECT i FROM n"
#define FOREVER "SELECT max(i) FROM (" NUMBERS("") ")"

/* A receiver that keeps pages until it is told to take them. */
struct taker {
    struct cursor c;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct cursor_page *waiting[CURSOR_PAGES];
    int count;
    bool done;
    int64_t done_ns;
    int progress;
    struct buf got; /* all rows, with commas */
    int pages;
};

static void on_page(struct cursor *c, struct cursor_page *p)
{
    struct taker *t = c->ctx;
    pthread_mutex_lock(&t->lock);
    t->waiting[t->count++] = p;
    pthread_cond_signal(&t->cond);
    pthread_mutex_unlock(&t->lock);
}

static void on_progress(struct cursor *c)
{
    struct taker *t = c->ctx;
    pthread_mutex_lock(&t->lock);
    t->progress++;
    pthread_mutex_unlock(&t->lock);
}

static void on_done(struct cursor *c)
{
    struct taker *t = c->ctx;
    pthread_mutex_lock(&t->lock);
    t->done = true;
    t->done_ns = clock_mono_ns();
    pthread_cond_signal(&t->cond);
    pthread_mutex_unlock(&t->lock);
}

static void begin_with(struct fixture *f, struct taker *t, const char *sql, int64_t param)
{
    memset(t, 0, sizeof(*t));
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->cond, NULL);
    t->c.ctx = t;
    t->c.page = on_page;
    t->c.progress = on_progress;
    t->c.done = on_done;
    t->c.page_rows = 1000;
    t->c.page_bytes = 1 << 20;
    struct sql_statement *s = sql_request_add(&t->c.request, sql, strlen(sql));
    assert_non_null(s);
    if (param)
        assert_int_equal(
            sql_statement_bind(s, NULL, &(struct value){.type = VALUE_INTEGER, .i = param}), 0);
    cursor_open(f->db, &t->c);
}

static void begin(struct fixture *f, struct taker *t, const char *sql)
{
    begin_with(f, t, sql, 0);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Takes a page, or finds the end: false. */
static bool take(struct taker *t)
{
    pthread_mutex_lock(&t->lock);
    while (t->count == 0 && !t->done)
        pthread_cond_wait(&t->cond, &t->lock);
    struct cursor_page *p = t->count ? t->waiting[0] : NULL;
    bool done = t->done;
    if (p && --t->count)
        t->waiting[0] = t->waiting[1];
    pthread_mutex_unlock(&t->lock);
    if (!p)
        return false;
    assert_ptr_equal(p->cursor, &t->c);
    assert_int_equal(p->number, t->pages++);
    assert_true(p->count <= t->c.page_rows);
    if (p->count && t->got.len)
        buf_putc(&t->got, ',');
    buf_put(&t->got, p->rows.data, p->rows.len);
    if (!done)
        cursor_give(&t->c, p);
    return true;
}

static void await_pages(struct taker *t, int count)
{
    for (int i = 0; i < 10000; i++) {
        pthread_mutex_lock(&t->lock);
        bool there = t->count == count;
        pthread_mutex_unlock(&t->lock);
        if (there)
            return;
        pause_ms(1);
    }
    fail_msg("%d pages did not come", count);
}

static void fini(struct taker *t)
{
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->cond);
    buf_fini(&t->got);
    cursor_fini(&t->c);
}

/* Takes all; the columns and rows, or "CODE: message". */
static void expect_end(struct taker *t, const char *expected)
{
    struct buf text = {0};
    while (take(t))
        ;
    if (t->c.request.error.code[0])
        buf_printf(&text, "%s: %s", t->c.request.error.code, t->c.request.error.message);
    else
        buf_printf(&text, "%s %s", buf_text(&t->c.columns), buf_text(&t->got));
    expect_starts(buf_text(&text), expected);
    buf_fini(&text);
    fini(t);
}

static void expect_count(struct taker *t, int rows, int pages)
{
    while (take(t))
        ;
    assert_string_equal(t->c.request.error.message, "");
    int commas = 1;
    for (size_t i = 0; i < t->got.len; i++)
        commas += t->got.data[i] == ',';
    assert_int_equal(t->got.len ? commas : 0, rows);
    assert_int_equal(atomic_load(&t->c.rows), rows);
    assert_int_equal(t->pages, pages);
    fini(t);
}

static void results(void **state)
{
    struct fixture *f = *state;
    struct taker t;
    sql_ok(f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    begin(f, &t, "SELECT * FROM t");
    expect_end(&t, "[\"id\",\"v\"] ");
    begin(f, &t, "INSERT INTO t(v) VALUES('a'),('b') RETURNING *");
    expect_end(&t, "[\"id\",\"v\"] [1,\"a\"],[2,\"b\"]");
    begin_with(f, &t, "SELECT v, ?1 x FROM t WHERE id = ?1", 2);
    expect_end(&t, "[\"v\",\"x\"] [\"b\",2]");
    begin(f, &t, "SELECT 1; SELECT 2 AS two; -- a script");
    expect_end(&t, "[\"two\"] [2]");
    begin(f, &t, "DELETE FROM t");
    expect_end(&t, "[] ");
    begin(f, &t, "  ; SELECT 3 AS n ; ");
    expect_end(&t, "[\"n\"] [3]");
    begin(f, &t, "SELECT nope");
    expect_end(&t, "SQL_ERROR: no such column: nope");
    begin(f, &t, "");
    expect_end(&t, "INVALID_FORMAT: there is no statement in sql");
    begin(f, &t, "SELECT ?");
    expect_end(&t, "INVALID_FORMAT: ");
    begin_with(f, &t, "SELECT 1", 1);
    expect_end(&t, "INVALID_FORMAT: ");
    begin(f, &t, "PRAGMA table_info(t)");
    expect_end(&t, "[\"cid\",\"name\",\"type\",\"notnull\",\"dflt_value\",\"pk\"] [0,\"id\"");
    begin(f, &t, "EXPLAIN QUERY PLAN DELETE FROM t");
    expect_end(&t, "[\"id\",\"parent\",\"notused\",\"detail\"] ");
    begin(f, &t, "ATTACH 'x' AS y");
    expect_end(&t, "FORBIDDEN: ");
}

static void page_sizes(void **state)
{
    struct fixture *f = *state;
    struct taker t;
    begin(f, &t, NUMBERS(" LIMIT 1000"));
    expect_count(&t, 1000, 1);
    begin(f, &t, NUMBERS(" LIMIT 1001"));
    expect_count(&t, 1001, 2);
    begin(f, &t, NUMBERS(" LIMIT 20000"));
    expect_count(&t, 20000, 20);
    /* Of a result that was whole at first, too. */
    sql_ok(f, "CREATE TABLE t(v)");
    begin(f, &t, "INSERT INTO t " NUMBERS(" LIMIT 2001") " RETURNING v");
    expect_count(&t, 2001, 3);
    begin(f, &t, "SELECT 1; SELECT v FROM t");
    expect_count(&t, 2001, 3);
    /* Pages are bounded by their bytes as well, but for one row. */
    begin(f, &t, "SELECT printf('%.*c', 400000, 'x') FROM (" NUMBERS(" LIMIT 6") ")");
    expect_count(&t, 6, 3);
    begin(f, &t, "SELECT printf('%.*c', 2000000, 'x') FROM (" NUMBERS(" LIMIT 3") ")");
    expect_count(&t, 3, 3);
}

static void rows_too_large(void **state)
{
    static const char *const texts[] = {
        "SELECT 'a' UNION ALL SELECT printf('%.*c', 1000, 'x')",
        "SELECT 0; SELECT 'a' UNION ALL SELECT printf('%.*c', 1000, 'x')",
    };
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        struct taker t = {0};
        pthread_mutex_init(&t.lock, NULL);
        pthread_cond_init(&t.cond, NULL);
        t.c.ctx = &t;
        t.c.page = on_page;
        t.c.done = on_done;
        t.c.page_rows = 1;
        t.c.page_bytes = t.c.row_bytes = 500;
        assert_non_null(sql_request_add(&t.c.request, texts[i], strlen(texts[i])));
        cursor_open(f->db, &t.c);
        expect_end(&t, "TOO_LARGE: row 2 of the result is larger than 500 bytes");
    }
}

/* All pages are out: nothing runs, the transaction shows the same moment all the time. */
static void rests(void **state)
{
    struct fixture *f = *state;
    struct taker t;
    sql_ok(f, "CREATE TABLE t(v); INSERT INTO t " NUMBERS(" LIMIT 5000"));
    begin(f, &t, "SELECT v FROM t");
    await_pages(&t, 2);
    assert_true(atomic_load(&t.c.rows) == 2000);
    sql_ok(f, "DELETE FROM t");
    pause_ms(30);
    assert_true(atomic_load(&t.c.rows) == 2000);
    expect_count(&t, 5000, 5);
    begin(f, &t, "SELECT v FROM t");
    expect_count(&t, 0, 1);
}

static void expect_cancelled(struct taker *t, const char *expected)
{
    int64_t begun_ns = clock_mono_ns();
    cursor_cancel(&t->c);
    while (take(t))
        ;
    assert_true(t->done_ns - begun_ns < 500000000);
    expect_starts(t->c.request.error.message, expected);
    assert_string_equal(t->c.request.error.code, "QUERY_CANCELLED");
    fini(t);
}

static void cancelled(void **state)
{
    struct fixture *f = *state;
    struct taker a, b, c, d;
    sql_ok(f, "CREATE TABLE t(v)");
    forget_events(f);
    fixture_close(f);
    f->options.query_threads = 2;
    fixture_open(f);
    begin(f, &a, FOREVER);
    pause_ms(20);
    begin(f, &b, "SELECT 1");
    begin(f, &c, "INSERT INTO t " NUMBERS(""));
    begin(f, &d, "SELECT 2; " FOREVER);
    pause_ms(20);
    expect_cancelled(&b, "the query was cancelled");
    expect_cancelled(&d, "the query was cancelled");
    expect_cancelled(&a, "the statement was cancelled");
    expect_cancelled(&c, "the statement was cancelled");
    begin(f, &a, NUMBERS(""));
    await_pages(&a, 2);
    expect_cancelled(&a, "the query was cancelled");
    expect_events(f, "");
}

static void late(void **state)
{
    struct fixture *f = *state;
    struct taker a, b;
    fixture_close(f);
    f->options.query_timeout_ms = 1000;
    fixture_open(f);
    int64_t begun_ns = clock_mono_ns();
    begin(f, &a, FOREVER);
    begin(f, &b, NUMBERS(""));
    await_pages(&b, 2);
    expect_end(&a, "QUERY_CANCELLED: the statement was stopped after 1 s");
    pause_ms(150);
    expect_end(&b, "QUERY_CANCELLED: the query was stopped after 1 s, while its rows waited");
    assert_true(clock_mono_ns() - begun_ns < 10000000000);
    /* What is whole stays done, but its pages do not wait for ever. */
    sql_ok(f, "CREATE TABLE t(v)");
    begin(f, &a, "INSERT INTO t " NUMBERS(" LIMIT 5000") " RETURNING v");
    begin(f, &b, "SELECT 1; " NUMBERS(" LIMIT 5000"));
    await_pages(&a, 2);
    await_pages(&b, 2);
    pause_ms(1150);
    expect_end(&a, "QUERY_CANCELLED: what was asked for has been done, but its rows waited");
    expect_end(&b, "QUERY_CANCELLED: what was asked for has been done, but its rows waited");
    expect_rows(f, "SELECT count(*) FROM t", "[[5000]]");
}

/* Results that are whole are so many at a time; writes behind them wait, and can be cancelled. */
static void writes_wait(void **state)
{
    struct fixture *f = *state;
    struct taker a, b, c, d;
    sql_ok(f, "CREATE TABLE t(v)");
    fixture_close(f);
    f->options.open_queries = 2;
    fixture_open(f);
    begin(f, &a, "INSERT INTO t " NUMBERS(" LIMIT 3000") " RETURNING v");
    begin(f, &b,
        "WITH x AS (SELECT 1) INSERT INTO t SELECT i FROM (" NUMBERS(" LIMIT 3000") ") "
                                                                                    "RETURNING v");
    await_pages(&a, 2);
    await_pages(&b, 2);
    begin(f, &c, "INSERT INTO t VALUES(7) RETURNING v");
    begin(f, &d, "INSERT INTO t VALUES(8) RETURNING v");
    sql_ok(f, "INSERT INTO t VALUES(9)");
    pause_ms(50);
    expect_rows(f, "SELECT count(*) FROM t", "[[6001]]");
    expect_cancelled(&c, "the query was cancelled");
    expect_count(&a, 3000, 3);
    expect_end(&d, "[\"v\"] [8]");
    expect_count(&b, 3000, 3);
    expect_rows(f, "SELECT count(*) FROM t", "[[6002]]");
}

/* Elsewhere than in WAL a reader keeps a commit from ending, so it may not last. */
static void delete_mode(void **state)
{
    struct fixture *f = *state;
    struct taker t;
    sql_ok(f, "CREATE TABLE t(v); INSERT INTO t " NUMBERS(" LIMIT 5000"));
    fixture_close(f);
    foreign(f, "PRAGMA journal_mode=DELETE");
    f->options.keep_journal_mode = true;
    f->options.busy_timeout_ms = 400;
    fixture_open(f);
    begin(f, &t, "SELECT v FROM t");
    await_pages(&t, 2);
    sql_ok(f, "INSERT INTO t VALUES(0)");
    expect_end(&t, "QUERY_CANCELLED: the query was stopped after 0.2 s");
    begin(f, &t, FOREVER);
    expect_end(&t, "QUERY_CANCELLED: the query was stopped after 0.2 s: the journal mode");
}

static void progress(void **state)
{
    struct fixture *f = *state;
    struct taker runs, rests, waits;
    fixture_close(f);
    f->options.query_threads = 2;
    f->options.open_queries = 2;
    fixture_open(f);
    begin(f, &rests, NUMBERS(""));
    await_pages(&rests, 2);
    begin(f, &runs, FOREVER);
    begin(f, &waits, "SELECT 1");
    pause_ms(1100);
    expect_cancelled(&runs, "the statement was cancelled");
    assert_true(runs.progress >= 2 && runs.progress <= 5);
    assert_true(rests.progress >= 2 && waits.progress >= 2);
    expect_end(&waits, "[\"1\"] [1]");
    expect_cancelled(&rests, "the query was cancelled");
}

/* More than threads, connections and places: all are served in the end, and fairly. */
enum { MANY = 100 };
static struct taker all[MANY];

static struct fixture *open_for_many(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->options.query_threads = 3;
    f->options.open_queries = 5;
    f->options.query_queue = MANY;
    fixture_open(f);
    return f;
}

static void many(void **state)
{
    struct fixture *f = open_for_many(state);
    sql_ok(f, "CREATE TABLE t(v)");
    for (int i = 0; i < MANY; i++)
        begin(
            f, &all[i], i % 3 ? NUMBERS(" LIMIT 3001") : "INSERT INTO t VALUES(1),(2) RETURNING v");
    for (int i = 0; i < MANY; i++)
        expect_count(&all[i], i % 3 ? 3001 : 2, i % 3 ? 4 : 1);
    expect_rows(f, "SELECT count(*) FROM t", "[[68]]");
    assert_true(database_drain(f->db, 1000));
}

/* None of those ends before its pages are taken. */
static void one_too_many(void **state)
{
    struct fixture *f = open_for_many(state);
    struct taker more;
    for (int i = 0; i < MANY; i++)
        begin(f, &all[i], NUMBERS(" LIMIT 3001"));
    begin(f, &more, "SELECT 1");
    expect_end(&more, "LIMIT_EXCEEDED: ");
    for (int i = 0; i < MANY; i++)
        expect_count(&all[i], 3001, 4);
}

/* Whatever they do, they end with the database. */
static void closed(void **state)
{
    struct fixture *f = *state;
    struct taker runs, rests, waits, writes;
    sql_ok(f, "CREATE TABLE t(v)");
    fixture_close(f);
    f->options.query_threads = 2;
    fixture_open(f);
    begin(f, &rests, NUMBERS(""));
    await_pages(&rests, 2);
    begin(f, &runs, FOREVER);
    begin(f, &waits, "SELECT 1");
    begin(f, &writes, "INSERT INTO t VALUES(1)");
    pause_ms(20);
    database_interrupt(f->db);
    fixture_close(f);
    assert_true(runs.done && rests.done && waits.done && writes.done);
    assert_string_equal(runs.c.request.error.code, "QUERY_CANCELLED");
    assert_string_equal(rests.c.request.error.code, "QUERY_CANCELLED");
    assert_string_equal(waits.c.request.error.code, "QUERY_CANCELLED");
    fini(&runs);
    fini(&rests);
    fini(&waits);
    fini(&writes);
}

/* Memory runs out at the Nth allocation: all rows, or an error. */
static void memory(void **state)
{
    static const char *const texts[] = {NUMBERS(" LIMIT 3000"),
        "INSERT INTO t SELECT i FROM (" NUMBERS(" LIMIT 2500") ") RETURNING v",
        "SELECT 1; " NUMBERS(" LIMIT 1500")};
    struct fixture *f = *state;
    f->quiet = true;
    sql_ok(f, "CREATE TABLE t(v)");
    for (int i = 0; i < 3; i++) {
        bool hit = true;
        for (long n = 0; hit; n++) {
            struct taker t;
            assert_true(n < 20000);
            mem_fail_after(n + 3); /* those of asking are not of interest */
            begin(f, &t, texts[i]);
            pthread_mutex_lock(&t.lock);
            while (t.count == 0 && !t.done)
                pthread_cond_wait(&t.cond, &t.lock);
            pthread_mutex_unlock(&t.lock);
            while (take(&t))
                ;
            hit = mem_fail_hit();
            mem_fail_after(-1);
            if (t.c.request.error.code[0])
                assert_true(hit);
            else
                assert_int_equal(atomic_load(&t.c.rows), i == 0 ? 3000 : i == 1 ? 2500 : 1500);
            fini(&t);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(results),
        TEST(page_sizes),
        TEST(rows_too_large),
        TEST(rests),
        TEST(cancelled),
        TEST(late),
        TEST(writes_wait),
        TEST(delete_mode),
        TEST(progress),
        TEST(many),
        TEST(one_too_many),
        TEST(closed),
        TEST(memory),
    };
    return cmocka_run_group_tests_name("cursor", tests, NULL, NULL);
}
