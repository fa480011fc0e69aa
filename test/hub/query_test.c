#include "hub_fixture.h"

#include "base/mem.h"
#include "fake_cursor.h"
#include "fake_pager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Queries of clients, over cursors whose pages and ends come when a test wants them. */

static struct feed f;

static int setup(void **state)
{
    (void)state;
    feed_options.db = fake_pager_new();
    feed_options.max_queries = 3;
    feed_start(&f, schema_of(NULL));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    feed_stop(&f);
    return 0;
}

#define HEAD "{\"id\":\"c\",\"timestamp\":T,\"type\":"
#define STARTED(id) HEAD "\"query:started\",\"data\":{\"queryId\":" id "}}"

/* The next message, its elapsed or duration written as D. */
static void expect(struct client *c, const char *expected)
{
    static const char *const names[] = {"\"duration\":", "\"elapsed\":"};
    const char *got = client_read(c);
    char text[4096];

    assert_non_null(got);
    snprintf(text, sizeof(text), "%s", got);
    for (int i = 0; i < 2; i++) {
        char *at = strstr(text, names[i]);

        if (!at)
            continue;
        at += strlen(names[i]);
        assert_true(strtod(at, NULL) >= 0);
        memmove(at + 1, at + strspn(at, "0123456789."), strlen(at + strspn(at, "0123456789.")) + 1);
        *at = 'D';
    }
    assert_string_equal(text, expected);
}

static struct cursor *begin(struct client *c, const char *id)
{
    char text[200];

    snprintf(
        text, sizeof(text), "{\"type\":\"query:start\",\"queryId\":%s,\"sql\":\"SELECT 1\"}", id);
    client_send(c, text);
    snprintf(text, sizeof(text), STARTED("%s"), id);
    client_expect(c, text);
    return fake_cursor_next();
}

static uint64_t running(void)
{
    struct hub_stats s;

    hub_stats(f.hub, &s);
    return s.running_queries;
}

static void expect_running(uint64_t count)
{
    for (int i = 0; i < 5000 && running() != count; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(running(), count);
}

static void one_message(void **state)
{
    struct client *c = client_new(&f);
    struct cursor *cursor;

    (void)state;
    client_send(c, "{\"type\":\"query:start\",\"requestId\":\"r\",\"data\":{\"sql\":\"SELECT :a\","
                   "\"params\":{\"a\":\"x\"}}}");
    client_expect(c, HEAD "\"query:started\",\"requestId\":\"r\",\"data\":{\"queryId\":\"q1\"}}");
    cursor = fake_cursor_next();
    assert_int_equal(cursor->request.statement_count, 1);
    assert_string_equal(cursor->request.statements[0].sql, "SELECT :a");
    assert_string_equal(cursor->request.statements[0].params[0].name, "a");
    assert_int_equal(cursor->request.origin, c->id);
    expect_running(1);
    fake_cursor_progress(cursor, 0);
    expect(c, HEAD "\"query:progress\",\"data\":{\"queryId\":\"q1\",\"rowCount\":0,\"elapsed\":D,"
                   "\"progress\":null}}");
    fake_cursor_page(cursor, "[1],[2]", 2, true);
    client_quiet(c);
    cursor->request.seq = 7;
    cursor->request.changes = 3;
    cursor->request.last_rowid = -1;
    fake_cursor_done(cursor, NULL);
    expect(c,
        HEAD "\"query:complete\",\"data\":{\"queryId\":\"q1\",\"rowCount\":2,\"duration\":D,"
             "\"changes\":3,\"lastInsertRowid\":-1,\"seq\":7,\"results\":{\"columns\":[\"a\"],"
             "\"rows\":[[1],[2]]}}}");
    expect_running(0);
    client_free(c);
}

static void pages(void **state)
{
    struct client *c = client_new(&f);
    struct cursor *cursor = begin(c, "\"p\"");

    (void)state;
    fake_cursor_page(cursor, "[1]", 1, false);
    fake_cursor_page(cursor, "[2]", 1, false);
    fake_cursor_page(cursor, "[3]", 1, true);
    for (int i = 0; i < 3; i++) {
        char text[200];

        snprintf(text, sizeof(text),
            HEAD "\"query:rows\",\"data\":{\"queryId\":\"p\",\"page\":%d,\"columns\":[\"a\"],"
                 "\"rows\":[[%d]]}}",
            i, i + 1);
        client_expect(c, text);
    }
    fake_cursor_done(cursor, NULL);
    expect(c, HEAD "\"query:complete\",\"data\":{\"queryId\":\"p\",\"rowCount\":3,\"duration\":D,"
                   "\"changes\":0,\"lastInsertRowid\":0,\"seq\":0}}");
    client_quiet(c);
    client_free(c);
}

static void errors_and_bounds(void **state)
{
    struct client *c = client_new(&f);
    struct cursor *a = begin(c, "\"a\""), *b = begin(c, "5"), *third;

    (void)state;
    client_send(c, "{\"type\":\"query:start\",\"requestId\":1,\"queryId\":5,\"sql\":\"SELECT 1\"}");
    client_expect_part(c, "\"type\":\"error\",\"requestId\":1,\"error\":{\"code\":\"CONFLICT\"");
    /* A number and a text are not the same. */
    third = begin(c, "\"5\"");
    client_send(c, "{\"type\":\"query:start\",\"sql\":\"SELECT 1\"}");
    client_expect_part(c, "\"code\":\"LIMIT_EXCEEDED\"");
    fake_cursor_page(a, "[1]", 1, false);
    client_expect_part(c, "\"type\":\"query:rows\"");
    a->request.error.sqlite_code = 1;
    a->request.error.offset = 7;
    fake_cursor_done(a, "SQL_ERROR");
    expect(c, HEAD "\"query:error\",\"data\":{\"queryId\":\"a\",\"rowCount\":1,\"duration\":D,"
                   "\"error\":{\"code\":\"SQL_ERROR\",\"message\":\"\",\"sqliteCode\":1,"
                   "\"offset\":7}}}");
    client_send(c, "{\"type\":\"query:cancel\",\"queryId\":\"a\"}");
    client_expect_part(c, "\"code\":\"NOT_FOUND\"");
    client_send(c, "{\"type\":\"query:cancel\",\"requestId\":\"x\",\"queryId\":5}");
    assert_true(fake_cursor_cancelled(b));
    assert_false(atomic_load(&third->request.cancel));
    /* A page that came too late is not of the end. */
    fake_cursor_page(b, "[1]", 1, true);
    fake_cursor_done(b, "QUERY_CANCELLED");
    client_expect_part(c, "\"type\":\"query:error\",\"requestId\":\"x\",\"data\":{\"queryId\":5,");
    fake_cursor_done(third, NULL);
    client_expect_part(c, "\"type\":\"query:complete\"");
    expect_running(0);
    client_free(c);
}

static void gone(void **state)
{
    struct client *c = client_new(&f);
    struct cursor *a = begin(c, "1"), *b = begin(c, "2"), *d = begin(c, "3");

    (void)state;
    fake_cursor_page(a, "[1]", 1, true);
    fake_cursor_page(d, "[1]", 1, true);
    fake_cursor_done(d, NULL);
    client_free(c);
    assert_true(fake_cursor_cancelled(a));
    assert_true(fake_cursor_cancelled(b));
    expect_running(2);
    fake_cursor_progress(a, 5);
    fake_cursor_page(b, "[1]", 1, false);
    fake_cursor_page(b, "[1]", 1, false);
    fake_cursor_done(a, NULL);
    fake_cursor_done(b, "QUERY_CANCELLED");
    expect_running(0);
}

/* Rows that nobody reads: two pages are on the way, and the queue is short of its bound. */
static void unread(void **state)
{
    struct client *c = client_new(&f), *other = client_new(&f);
    struct cursor *cursor = begin(c, "\"u\"");
    static char row[100002];
    int sent = 0, read = 0;
    const char *text;

    (void)state;
    memset(row, '1', sizeof(row) - 1);
    row[0] = '[';
    row[sizeof(row) - 2] = ']';
    do {
        for (int i = 0; i < 300 && fake_cursor_taken(cursor) == CURSOR_PAGES; i++)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if (fake_cursor_taken(cursor) == CURSOR_PAGES)
            break;
        fake_cursor_page(cursor, row, 1, false);
    } while (++sent < 100);
    assert_true(sent > 2 && sent < 60);
    fake_cursor_progress(cursor, 9);
    client_quiet(other);
    /* It is through with the database, and then cancelled all the same. */
    fake_cursor_done(cursor, NULL);
    expect_running(0);
    client_send(c, "{\"type\":\"query:cancel\",\"queryId\":\"u\"}");
    while ((text = client_read(c)) && strstr(text, "\"type\":\"query:rows\""))
        read++;
    assert_non_null(text);
    assert_non_null(strstr(text, "\"type\":\"query:error\""));
    assert_true(read >= sent - CURSOR_PAGES - 1 && read <= sent);
    client_quiet(c);
    client_free(c);
    client_free(other);
}

/* The rest comes as the client reads; it is all there in the end. */
static void read_late(void **state)
{
    struct client *c = client_new(&f);
    struct cursor *cursor = begin(c, "\"l\"");
    static char row[100002];

    (void)state;
    memset(row, '1', sizeof(row) - 1);
    row[0] = '[';
    row[sizeof(row) - 2] = ']';
    for (int sent = 0, read = 0; read < 100; sent++) {
        while (sent - read > 3) {
            client_expect_part(c, "\"type\":\"query:rows\"");
            read++;
        }
        if (sent < 100)
            fake_cursor_page(cursor, row, 1, sent == 99);
        else
            for (; read < 100; read++)
                client_expect_part(c, "\"type\":\"query:rows\"");
    }
    fake_cursor_done(cursor, NULL);
    client_expect_part(c, "\"type\":\"query:complete\"");
    client_free(c);
}

static void channel(void **state)
{
    struct client *c = client_new(&f), *watcher = client_new(&f), *quiet = client_new(&f);
    struct cursor *cursor;

    (void)state;
    client_subscribe(watcher, "{\"type\":\"subscribe\",\"channel\":\"queries\"}");
    client_subscribe(quiet, "{\"type\":\"subscribe\",\"channel\":\"queries\"}");
    client_send(quiet, "{\"type\":\"unsubscribe\",\"channel\":\"queries\"}");
    client_expect_part(quiet, "\"type\":\"unsubscribed\"");
    cursor = begin(c, "\"n\"");
    client_expect_part(watcher, "\"type\":\"query:started\",\"channel\":\"queries\",\"data\":{"
                                "\"queryId\":\"n\",\"connectionId\":");
    fake_cursor_progress(cursor, 3);
    client_expect_part(c, "\"type\":\"query:progress\"");
    client_expect_part(watcher, "\"type\":\"query:progress\",\"channel\":\"queries\"");
    fake_cursor_page(cursor, "[\"secret\"]", 1, true);
    snprintf(cursor->request.error.message, sizeof(cursor->request.error.message), "secret");
    fake_cursor_done(cursor, "SQL_ERROR");
    client_expect_part(c, "\"message\":\"secret\"");
    client_expect_part(watcher, "\"error\":{\"code\":\"SQL_ERROR\"}}}");
    cursor = begin(c, "\"g\"");
    client_expect_part(watcher, "\"type\":\"query:started\"");
    client_free(c);
    client_expect_part(watcher, "\"error\":{\"code\":\"QUERY_CANCELLED\"}}}");
    fake_cursor_done(cursor, "QUERY_CANCELLED");
    client_quiet(watcher);
    client_quiet(quiet);
    client_free(watcher);
    client_free(quiet);
}

/* The hub stops first; what the database then gives back is freed with the hub. */
static void stopped(void **state)
{
    struct client *c = client_new(&f);
    struct cursor *a = begin(c, "1"), *b = begin(c, "2");

    (void)state;
    fake_cursor_page(a, "[1]", 1, false);
    hub_stop(f.hub, 100);
    fake_cursor_page(a, "[1]", 1, false);
    fake_cursor_progress(a, 5);
    fake_cursor_done(a, NULL);
    fake_cursor_done(b, "QUERY_CANCELLED");
    client_free(c);
}

/* Memory runs out at the Nth allocation: the client is told all, or is closed. */
static void memory(void **state)
{
    bool hit = true;

    (void)state;
    for (long n = 0; hit; n++) {
        struct client *c = client_new(&f);
        struct cursor *cursor;
        const char *got;

        assert_true(n < 1000);
        mem_fail_after(n);
        client_send(c, "{\"type\":\"query:start\",\"queryId\":\"m\",\"sql\":\"SELECT 'x', ?\","
                       "\"params\":[\"y\"]}");
        got = client_read(c);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (got && strstr(got, "query:started")) {
            cursor = fake_cursor_next();
            fake_cursor_page(cursor, "[1]", 1, true);
            fake_cursor_done(cursor, NULL);
            got = client_read(c);
            assert_non_null(got);
            assert_non_null(strstr(got, "query:complete"));
        } else {
            assert_true(hit);
        }
        client_free(c);
        expect_running(0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_message, setup, teardown),
        cmocka_unit_test_setup_teardown(pages, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_and_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(gone, setup, teardown),
        cmocka_unit_test_setup_teardown(unread, setup, teardown),
        cmocka_unit_test_setup_teardown(read_late, setup, teardown),
        cmocka_unit_test_setup_teardown(channel, setup, teardown),
        cmocka_unit_test_setup_teardown(stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(memory, setup, teardown),
    };

    return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
